"""A raw folder with its store and champion, without a real film in it: for what looks at files alone."""

from __future__ import annotations

from pathlib import Path

from storage.feature_store import FeatureStore
from storage.segments import table_digest
from tasks.champion import Ensemble, decide
from tasks.ingest import read_raw
from tests.tasks.labelled_data import labelled_data


class JudgedFolder:
    """Whose data set is published and judged as often as wanted."""

    def __init__(self, folder: Path):
        self.raw, self.models, self.inventory = folder / "raw", folder / "models", folder / "inventory.json"
        self.store = FeatureStore.open(str(folder / "store"))
        self.rows: dict[str, str] = {}

    def put(self, clip: str, content: bytes = b"film", text: str = "hello there") -> None:
        path = self.raw / "Raw" / "v" / f"{clip}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.rows[clip] = f"v,{clip},{text},1.0"
        self.write()

    def write(self) -> None:
        (self.raw / "label.csv").write_text("\n".join(["video_id,clip_id,text,label", *self.rows.values()]))

    def judge(self, promoted: bool = True) -> None:
        segments = read_raw(self.raw)[0]
        self.store.write_segments(segments)
        published = self.store.publish(self.store.write_aligned({"of": table_digest(segments)}, labelled_data()))
        decide(self.models, Ensemble("dmd", (1,), "glove", published, ()), promoted, "", table_digest(segments))
