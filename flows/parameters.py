"""What a run of the flow takes: one form in Prefect's pages, one option each on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dmd_model.config import ABLATIONS
from dmd_model.registry import MODELS, check_name

Stage = Literal["ingest", "align", "extract", "validate", "train"]
"""The stages in the order in which they run; a report is made of whatever was validated."""
Modality = Literal["text", "vision", "audio"]
Device = Literal["auto", "cpu", "cuda"]
Form = Literal["mmsa", "npz", "zarr", "huggingface"]
"""What data sets are exported as."""
FIRST_SEED = 1111
GROUPS = {"all": list(MODELS), "ablations": ["dmd", *(f"dmd@{preset}" for preset in ABLATIONS)]}
"""Several models under one name."""
HOME = Field(
    default_factory=lambda: Path(os.environ.get("DMD_HOME", ".dmd")),
    description="Folder in which everything lands: store, models, reports, one folder a data set (DMD_HOME).",
)
TRAIN_WITH = Field(
    None,
    pattern="^[^/]+/[^/]+$",
    description="A deployment that trains, such as `dmd/train` on the pool of a machine with a GPU, which has the "
    "same `home`; by default this run does.",
)
DATASET = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class DataParameters(BaseModel):
    """Which data set, and where it lies."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(
        "sample",
        pattern=DATASET,
        description="Name of the data set. `sample` is the embedded corpus, made where it is absent.",
    )
    home: Path = HOME
    store: str | None = Field(None, description="URL of the store; by default a folder in `home`.")

    @property
    def folder(self) -> Path:
        """Where this data set's store, models and reports lie."""
        return self.home.absolute() / self.dataset

    @property
    def store_url(self) -> str:
        return self.store or str(self.folder / "store")

    @property
    def models_folder(self) -> Path:
        return self.folder / "models"


class TrainParameters(DataParameters):
    """Training on a data set that is published: which data, which models."""

    models: Annotated[list[str], Parameter(alias="--model")] = Field(
        ["dmd"],
        min_length=1,
        description="Models to train, by name; `all` are DMD and its twelve baselines, "
        "`ablations` DMD as it is and without each of its four parts.",
    )
    seeds: list[int] = Field(
        [1111, 1112, 1113], min_length=1, description="One training a model and seed; one number below 100: so many."
    )
    text: Literal["glove", "bert", "pieces"] = Field(
        "glove", description="The text that models read; with `pieces` they train the text encoder themselves."
    )
    device: Device = Field("auto", description="Where models train; auto: a GPU if there is one.")

    @field_validator("models")
    @classmethod
    def _known(cls, models: list[str]) -> list[str]:
        named = list(dict.fromkeys(model for name in models for model in GROUPS.get(name, [name])))
        for model in named:
            check_name(model)
        return named

    @field_validator("seeds")
    @classmethod
    def _counted(cls, seeds: list[int]) -> list[int]:
        return [FIRST_SEED + number for number in range(seeds[0])] if len(seeds) == 1 and 0 < seeds[0] < 100 else seeds


class CompareParameters(TrainParameters):
    """The same, with every model and five seeds."""

    models: Annotated[list[str], Parameter(alias="--model")] = Field(
        list(MODELS), min_length=1, description="Models to compare, by name; `all` and `ablations` name several."
    )
    seeds: list[int] = Field(
        [FIRST_SEED + number for number in range(5)],
        min_length=1,
        description="One training a model and seed; one number below 100: so many.",
    )


class SearchParameters(TrainParameters):
    """A search for better settings of one model, on the valid split."""

    models: Annotated[list[str], Parameter(alias="--model")] = Field(
        ["dmd"], min_length=1, max_length=1, description="The model, by name."
    )
    seeds: list[int] = Field([1111], min_length=1, description="One training a trial and seed.")
    trials: int = Field(20, ge=1, description="How many settings are tried.")
    minutes: float = Field(60, gt=0, description="No trial begins later than this.")

    @model_validator(mode="after")
    def _one_model(self) -> SearchParameters:
        if len(self.models) != 1:
            raise ValueError(f"a search is for one model, not for {', '.join(self.models)}")
        return self


class RawParameters(DataParameters):
    """What becomes of raw video: how it is measured, and how much of it must come through."""

    raw: Path | None = Field(
        None,
        description="Folder of video: your own, or a copy of CMU-MOSI or CMU-MOSEI (docs/own-data.md). "
        "Not needed for `sample`.",
    )
    folds: Literal["cmu-mosi", "cmu-mosei"] | None = Field(
        None,
        description="Split videos by the official folds of this data set. By default as the labels say; where they do "
        "not, by the official folds of CMU-MOSI or CMU-MOSEI if it is one of these, else 70 : 10 : 20 by hash of the "
        "video id.",
    )
    errata: bool = Field(
        True, description="Leave out or correct the known label and cut errors of CMU-MOSI and CMU-MOSEI."
    )
    dask: str | None = Field(None, description="Address of a running Dask scheduler; by default workers start here.")
    raw_on_workers: str | None = Field(
        None,
        description="Where Dask workers find the raw folder, if not where it is here: a path of theirs, or an http "
        "address that serves it.",
    )
    modalities: list[Modality] = Field(
        list(get_args(Modality)),
        min_length=1,
        description="Modalities to extract now; the others must have been extracted by an earlier run.",
    )
    aligner: str = Field(
        "pocketsphinx",
        description="What finds the words: pocketsphinx, or a Wav2Vec2ForCTC model of English by folder or hub name.",
    )
    trust_word_times: bool | None = Field(
        None,
        description="Take word times that come with the data; if not, words are aligned and checked against them. "
        "By default yes, but not for `sample`.",
    )
    word_vectors: str = Field(
        "glove.6B.50d",
        description="GloVe vectors: glove.6B.50d, .100d, .200d, .300d, glove.840B.300d, or a text file of your own.",
    )
    text_encoder: str | None = Field(
        None,
        description="BERT-family encoder by name on the hub, or a folder; by default bert-base-uncased, else MiniLM.",
    )
    speech_encoder: str | None = Field(
        None,
        description="wav2vec 2.0 or HuBERT model (a folder or a name on the hub) whose hidden states are the audio "
        "features; by default they are the 74 acoustic columns.",
    )
    frames_per_second: float | None = Field(
        15, ge=0, description="At most so many video frames a second, as many as the field's features have; 0: all."
    )
    aligned: bool = Field(
        True, description="Pool frames of face and voice into words; if not, models read them frame by frame."
    )
    pitch_range: tuple[float, float] = Field(
        (60.0, 500.0), description="Lowest and highest fundamental frequency of the voices, in hertz."
    )
    min_coverage: float = Field(0.95, ge=0, le=1, description="The least share of segments that must come through.")
    retry_failures: bool = Field(False, description="Try failed segments again.")
    segments: int = Field(60, ge=12, description="Segments of the sample corpus, where it is made.")

    @field_validator("pitch_range")
    @classmethod
    def _rising(cls, pitch_range: tuple[float, float]) -> tuple[float, float]:
        if not 40 <= pitch_range[0] < pitch_range[1] <= 2000:
            raise ValueError("pitch_range is two frequencies between 40 and 2000 hertz, the lower one first")
        return pitch_range

    @property
    def makes_sample(self) -> bool:
        """Whether the data are the embedded corpus."""
        return self.dataset == "sample" and self.raw is None

    @property
    def trusts_word_times(self) -> bool:
        return not self.makes_sample if self.trust_word_times is None else self.trust_word_times


class RunParameters(RawParameters, TrainParameters):
    """One run of the pipeline: which data, how far, which models."""

    features: Path | None = Field(
        None,
        description="A file or folder of features to start from instead of raw video: an .npz, a pickle of MMSA, MulT "
        "or MISA, a folder of .csd, what `dmd export` wrote.",
    )
    stop_after: Stage = Field("train", description="The last stage to run.")
    train_with: str | None = TRAIN_WITH

    @model_validator(mode="after")
    def _source(self) -> RunParameters:
        if self.raw is not None and self.features is not None:
            raise ValueError("give either raw video (raw) or features (features), not both")
        if self.dataset != "sample" and self.raw is None and self.features is None:
            raise ValueError(f"data set {self.dataset!r} needs raw (a folder of video) or features (a file or folder)")
        return self

    @property
    def makes_sample(self) -> bool:
        return super().makes_sample and self.features is None

    def reaches(self, stage: Stage) -> bool:
        """Whether the run goes as far as ``stage``."""
        stages = get_args(Stage)
        return stages.index(stage) <= stages.index(self.stop_after)


class ExtractParameters(RunParameters):
    """The same, to the published data set."""

    stop_after: Stage = Field("validate", description="The last stage to run.")


class RetrainParameters(RawParameters):
    """Training again on new data; the model, its seeds and its text features are the champion's, if one serves."""

    device: Device = Field("auto", description="Where models train; auto: a GPU if there is one.")
    train_with: str | None = TRAIN_WITH

    @model_validator(mode="after")
    def _source(self) -> RetrainParameters:
        if self.dataset != "sample" and self.raw is None:
            raise ValueError(f"data set {self.dataset!r} needs raw (the folder of video in which data arrive)")
        return self

    def run_of(self, model: str, seeds: Sequence[int], text: str) -> RunParameters:
        """The run that trains this model."""
        return RunParameters(**self.model_dump(), models=[model], seeds=list(seeds), text=text)


class VideoParameters(BaseModel):
    """A video of one's own, and what is known of it."""

    video: Path = Field(description="The video: a file with picture and sound.")
    transcript: Path | None = Field(
        None,
        description="What is said in it: plain text, subtitles (.srt, .vtt) or words with times (.align, .TextGrid, "
        ".ctm). By default Whisper listens (extra `transcribe`).",
    )
    segments: Path | None = Field(
        None,
        description="CSV of its segments: start and end in seconds, and text if you like. By default pauses part them.",
    )
    without_text: Annotated[bool, Parameter(negative=())] = Field(
        False, description="Leave the words out: face and voice alone are read."
    )
    pause: float = Field(0.5, gt=0, description="Seconds without a word that part two segments.")

    @model_validator(mode="after")
    def _words(self) -> VideoParameters:
        if self.without_text and self.transcript is not None:
            raise ValueError("give a transcript, or leave the words out (without_text), not both")
        return self


class PredictParameters(DataParameters, VideoParameters):
    """Prediction on a video of one's own, by a model that was trained on a data set."""

    model: str | None = Field(None, description="The model, by name, with all its seeds; by default the champion.")
    to: Path | None = Field(
        None, description="Folder for page and tables; by default a folder of the video's name in `home`."
    )

    @property
    def output(self) -> Path:
        return (self.to or self.folder / "predictions" / self.video.stem).absolute()


class ImportParameters(DataParameters):
    """What becomes of features of the field."""

    dataset: str = Field(pattern=DATASET, description="Name of the data set.")
    text: Literal["glove", "bert"] = Field("glove", description="What the text features are.")
    errata: bool = Field(
        True, description="Leave out or correct the known label and cut errors of CMU-MOSI and CMU-MOSEI."
    )
    text_encoder: str | None = Field(
        None,
        description="Encoder whose word pieces the file's text_bert holds, by name on the hub or folder; by default "
        "the field's bert-base-uncased.",
    )


class ExportParameters(DataParameters):
    """What leaves of a data set, and how."""

    dataset: str = Field(pattern=DATASET, description="Name of the data set.")
    format: Form = Field(description="What to write.")
    text: Literal["glove", "bert"] = Field("glove", description="The text of formats that have one text.")


class WatchParameters(BaseModel):
    """How a folder is watched."""

    model_config = ConfigDict(extra="forbid")

    settle_seconds: float = Field(30, gt=0, description="Files are announced when nothing has changed for so long.")


class SampleParameters(BaseModel):
    """The embedded corpus of talking-head video."""

    model_config = ConfigDict(extra="forbid")

    segments: int = Field(60, ge=12, description="How many segments.")
    seed: int = Field(0, ge=0, description="The same seed makes the same bytes.")


class ServiceParameters(BaseModel):
    """Prefect on this machine."""

    model_config = ConfigDict(extra="forbid")

    home: Path = HOME


class UpParameters(ServiceParameters):
    """How Prefect is started on this machine."""

    port: int = Field(4200, ge=1, le=65535, description="Where the server listens on the loopback address.")
