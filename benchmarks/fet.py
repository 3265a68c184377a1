"""MMSA-FET as a peer: run by the Python of an environment of its own, which this project does not touch.

It is GPL-3 and needs other versions of libraries than ours, so nothing of it is imported here.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

SCRIPT = """
import json, resource, sys
from pathlib import Path
clips, warm_up, rate = json.loads(sys.argv[1])
import MSA_FET
examples = Path(MSA_FET.__file__).parent / "example_configs"
config = json.loads((examples / "librosa.json").read_text()) | json.loads((examples / "mediapipe.json").read_text())
config["video"]["fps"] = rate
tool = MSA_FET.FeatureExtractionTool(config, verbose=0)
tool._init_extractors()
extract = tool.video_extractor.extract
tool.video_extractor.extract = lambda folder, name, **_: extract(folder, name)  # it is called with one that it lacks
def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
for number, clip in enumerate(clips):
    if number == warm_up:
        began = used()
    tool.run_single(clip)
print("CPU", used() - began)
"""
"""Sound and face of each clip, as its own example configurations have them."""


def fet_seconds(python: str, clips: Sequence[Path], warm_up: int, rate: float) -> float:
    """CPU seconds, ffmpeg's among them, that MMSA-FET takes for the clips after the first ``warm_up``."""
    arguments = json.dumps([list(map(str, clips)), warm_up, rate])
    environment = {**os.environ, "PATH": f"{Path(python).parent}:{os.environ['PATH']}"}  # where its ffmpeg may lie
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-c", SCRIPT, arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.split("CPU ")[-1])
