"""What a run of the flow takes: one form in Prefect's pages, one option each on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dmd_model.registry import MODELS, check_name

Stage = Literal["ingest", "align", "extract", "validate", "train"]
"""The stages in the order in which they run; a report is made of whatever was validated."""
FIRST_SEED = 1111
HOME = Field(
    default_factory=lambda: Path(os.environ.get("DMD_HOME", ".dmd")),
    description="Folder in which everything lands: store, models, reports, one folder a data set (DMD_HOME).",
)


class TrainParameters(BaseModel):
    """Training on a data set that is published: which data, which models."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(
        "sample",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Name of the data set. `sample` is the embedded corpus, made where it is absent.",
    )
    home: Path = HOME
    store: str | None = Field(None, description="URL of the store; by default a folder in `home`.")
    models: Annotated[list[str], Parameter(alias="--model")] = Field(
        ["dmd"], min_length=1, description="Models to train, by name; `all` are DMD and its twelve baselines."
    )
    seeds: list[int] = Field(
        [1111, 1112, 1113], min_length=1, description="One training a model and seed; one number below 100: so many."
    )
    text: Literal["glove", "bert"] = Field("glove", description="The text features that models read.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where models train; auto: a GPU if there is one."
    )

    @field_validator("models")
    @classmethod
    def _known(cls, models: list[str]) -> list[str]:
        if models == ["all"]:
            return list(MODELS)
        for model in models:
            check_name(model)
        return models

    @field_validator("seeds")
    @classmethod
    def _counted(cls, seeds: list[int]) -> list[int]:
        return [FIRST_SEED + number for number in range(seeds[0])] if len(seeds) == 1 and 0 < seeds[0] < 100 else seeds

    @property
    def folder(self) -> Path:
        """Where this data set's store, models and reports lie."""
        return self.home.absolute() / self.dataset

    @property
    def store_url(self) -> str:
        return self.store or str(self.folder / "store")


class CompareParameters(TrainParameters):
    """The same, with every model and five seeds."""

    models: Annotated[list[str], Parameter(alias="--model")] = Field(
        list(MODELS), min_length=1, description="Models to compare, by name, or `all`."
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


class RunParameters(TrainParameters):
    """One run of the pipeline: which data, how far, which models."""

    raw: Path | None = Field(
        None,
        description="Folder of video: your own, or a copy of CMU-MOSI or CMU-MOSEI (docs/own-data.md). "
        "Not needed for `sample`.",
    )
    features: Path | None = Field(
        None, description="A file of word-aligned features (.npz) to start from instead of raw video."
    )
    folds: Literal["cmu-mosi", "cmu-mosei"] | None = Field(
        None,
        description="Split videos by the official folds of this data set. By default as the labels say; where they do "
        "not, by the official folds of CMU-MOSI or CMU-MOSEI if it is one of these, else 70 : 10 : 20 by hash of the "
        "video id.",
    )
    errata: bool = Field(
        True, description="Leave out or correct the known label and cut errors of CMU-MOSI and CMU-MOSEI (raw video)."
    )
    stop_after: Stage = Field("train", description="The last stage to run.")
    dask: str | None = Field(None, description="Address of a running Dask scheduler; by default workers start here.")
    trust_word_times: bool | None = Field(
        None,
        description="Take word times that come with the data; if not, words are aligned and checked against them. "
        "By default yes, but not for `sample`.",
    )
    text_encoder: str | None = Field(
        None, description="BERT-family encoder; by default bert-base-uncased, else MiniLM."
    )
    frames_per_second: float | None = Field(None, gt=0, description="At most so many video frames; by default all.")
    min_coverage: float = Field(0.95, ge=0, le=1, description="The least share of segments that must come through.")
    retry_failures: bool = Field(False, description="Try failed segments again.")
    segments: int = Field(60, ge=12, description="Segments of the sample corpus, where it is made.")

    @model_validator(mode="after")
    def _source(self) -> RunParameters:
        if self.raw is not None and self.features is not None:
            raise ValueError("give either raw video (raw) or word-aligned features (features), not both")
        if self.dataset != "sample" and self.raw is None and self.features is None:
            raise ValueError(f"data set {self.dataset!r} needs raw (a folder of video) or features (a file)")
        return self

    @property
    def makes_sample(self) -> bool:
        """Whether the run is on the embedded corpus."""
        return self.dataset == "sample" and self.raw is None and self.features is None

    @property
    def trusts_word_times(self) -> bool:
        return not self.makes_sample if self.trust_word_times is None else self.trust_word_times

    def reaches(self, stage: Stage) -> bool:
        """Whether the run goes as far as ``stage``."""
        stages = get_args(Stage)
        return stages.index(stage) <= stages.index(self.stop_after)


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
