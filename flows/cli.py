"""The command `dmd`: every option is a field of a model of `flows.parameters`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, CycloptsError, CycloptsPanel, Group, Parameter
from pydantic import ValidationError

from flows.parameters import (
    CompareParameters,
    RunParameters,
    SampleParameters,
    SearchParameters,
    ServiceParameters,
    TrainParameters,
    UpParameters,
)


def _wrong_values(error: CycloptsError) -> object:
    """What is wrong, a line an option."""
    if not isinstance(error.__cause__, ValidationError):
        return CycloptsPanel(error)
    lines = []
    for wrong in error.__cause__.errors():
        option = "".join(f"--{name.replace('_', '-')}: " for name in wrong["loc"][:1])
        lines.append(option + wrong["msg"].removeprefix("Value error, "))
    return CycloptsPanel("\n".join(lines))


app = App(
    name="dmd",
    help="Multimodal emotion recognition from video: features, models, results.",
    version="0.1.0",
    error_formatter=_wrong_values,
)

Fields = TypeVar("Fields")
Options = Annotated[Fields, Parameter(name="*", consume_multiple=True, negative_iterable=())]
"""Every field of a parameters model as an option."""
AsJson = Annotated[
    bool, Parameter(name="--json", negative=(), show_default=False, help="Print one JSON object and nothing else.")
]
RUN, TRAIN, COMPARE, SEARCH = RunParameters(), TrainParameters(), CompareParameters(), SearchParameters()
SAMPLE, SERVICE, UP = SampleParameters(), ServiceParameters(), UpParameters()


def main() -> None:
    """The console script: an error that explains itself is one sentence and exit code 1."""
    try:
        app()
    except Exception as error:
        if not hasattr(error, "reason"):
            raise
        sys.exit(f"dmd: {error}")


@app.command
def doctor(*, as_json: AsJson = False) -> None:
    """Say what this machine has: device, libraries, model files.

    Nothing is fetched; a file that is missing is named with the place that it would come from.
    """
    from flows import doctor

    found = doctor.examine()
    print(json.dumps(found) if as_json else doctor.describe(found))


@app.command
def sample(folder: Path, /, *, corpus: Options[SampleParameters] = SAMPLE) -> None:
    """Make the sample corpus of talking-head video in FOLDER.

    Parameters
    ----------
    folder
        Where `Raw/` and `label.csv` are written.
    """
    from tasks.sample import build

    build(folder, corpus.segments, corpus.seed)


@app.command
def run(*, run: Options[RunParameters] = RUN) -> None:
    """Go from raw video to features, trained models and a report.

    Without options, on the sample corpus. What the store holds already is not measured again.
    """
    from flows.dmd import dmd
    from flows.local_server import at_hand

    with at_hand():
        page = dmd(run)
    if page is not None:
        print(f"\nreport: {page}")


@app.command
def train(*, run: Options[TrainParameters] = TRAIN, as_json: AsJson = False) -> None:
    """Train models on a published data set and evaluate them."""
    _train(run, as_json)


@app.command
def compare(*, run: Options[CompareParameters] = COMPARE, as_json: AsJson = False) -> None:
    """Train DMD and twelve other models, and set them side by side."""
    _train(run, as_json)


def _train(run: TrainParameters, as_json: bool) -> None:
    from flows.local_server import at_hand
    from flows.train import train_published

    with at_hand():
        page = train_published(run)
    print(page.with_suffix(".json").read_text(encoding="utf-8") if as_json else f"\nresults: {page}")


@app.command
def search(*, run: Options[SearchParameters] = SEARCH) -> None:
    """Search for better settings of a model on the valid split.

    Needs the extra `search` (Optuna). The test split has no part in it.
    """
    from flows.train import search_settings

    print(f"\nbest settings: {search_settings(run)}")


@app.command
def up(*, service: Options[UpParameters] = UP) -> None:
    """Start Prefect: a server, its workers and the deployments.

    Then `prefect deployment run dmd/full` runs the pipeline.
    """
    from flows import local_server

    address = local_server.up(service.home, service.port)
    print(f"Prefect is up: {address}\nprefect deployment run dmd/full   runs the pipeline\ndmd down   ends it all")


@app.command
def down(*, service: Options[ServiceParameters] = SERVICE) -> None:
    """End what `dmd up` started."""
    from flows import local_server

    print(f"ended {local_server.down(service.home)} processes")


@app.command
def status(*, service: Options[ServiceParameters] = SERVICE, as_json: AsJson = False) -> int:
    """Say whether what `dmd up` started is running.

    The exit code is 1 where nothing is.
    """
    from flows import local_server

    processes = {
        name: {"process": process.pid, "log": str(service.home / f"{name}.log")}
        for name, process in local_server.running(service.home).items()
    }
    if as_json:
        print(json.dumps(processes))
    else:
        lines = [f"{name}: running, process {it['process']}, log {it['log']}" for name, it in processes.items()]
        print("\n".join(lines) or "not up")
    return 0 if processes else 1


CONTENTS = {
    "Begin": ("doctor", "sample"),
    "Data sets and models": ("run", "train", "compare", "search"),
    "Prefect as a service": ("up", "down", "status"),
    "The command itself": ("--help", "--version", "--install-completion"),
}
"""The chapters of `dmd --help`, in which every command has its place."""
app.register_install_completion_command(help="Have the shell complete commands and options.")
for title, commands in CONTENTS.items():
    chapter = Group.create_ordered(title)
    for place, name in enumerate(commands):
        app[name].group, app[name].sort_key = chapter, place
