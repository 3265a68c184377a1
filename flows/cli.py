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
    DataParameters,
    ExportParameters,
    ExtractParameters,
    ImportParameters,
    PredictParameters,
    RetrainParameters,
    RunParameters,
    SampleParameters,
    SearchParameters,
    ServiceParameters,
    TrainParameters,
    UpParameters,
    WatchParameters,
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
RUN, EXTRACT, TRAIN, COMPARE = RunParameters(), ExtractParameters(), TrainParameters(), CompareParameters()
SEARCH, RETRAIN, DATA, WATCH = SearchParameters(), RetrainParameters(), DataParameters(), WatchParameters()
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
    _run(run)


@app.command
def extract(*, run: Options[ExtractParameters] = EXTRACT) -> None:
    """Go from raw video to a published data set, and train nothing.

    What is new, or has other settings, is measured, and nothing else.
    """
    _run(run)


def _run(run: RunParameters) -> None:
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
def retrain(*, run: Options[RetrainParameters] = RETRAIN) -> None:
    """Train the champion's model on data that have arrived.

    It is promoted if it has become better. Where no champion serves, the first one is trained.
    """
    from flows.local_server import at_hand
    from flows.retrain import retrain as flow

    with at_hand():
        state = flow(run, return_state=True)
    page = state.result()
    print(f"\nreport: {page}" if page else f"\n{state.message}")


@app.command
def predict(run: Options[PredictParameters], *, as_json: AsJson = False) -> None:
    """Read a video of your own, word by word, with a trained model.

    Makes a page to look at, and tables of every segment and word.
    """
    from flows.local_server import at_hand
    from flows.predict import predict_video
    from tasks.prediction_files import summary

    with at_hand():
        page = predict_video(run)
    written = page.with_suffix(".json").read_text(encoding="utf-8")
    print(written if as_json else f"\n{summary(json.loads(written))}\n\nprediction: {page}")


@app.command(name="import")
def import_(path: Path, /, *, data: Options[ImportParameters]) -> None:
    """Check features of the field and publish them as a data set.

    Parameters
    ----------
    path
        An .npz, a pickle of MMSA, MulT or MISA, a folder of .csd or of a file a split, or what `dmd export` wrote.
    """
    _run(RunParameters(**data.model_dump(), features=path, stop_after="validate"))


@app.command
def export(path: Path, /, *, data: Options[ExportParameters]) -> None:
    """Write a published data set in a format of the field.

    Parameters
    ----------
    path
        A file (mmsa, npz) or folder (zarr, huggingface), where there must be nothing yet.
    """
    from flows.train import published_data
    from storage.interchange import formats

    store, published = published_data(data)
    formats.write(store.aligned(published.fingerprint, at=published.snapshot), path, data.format, data.text)
    print(f"{published.tag} written to {path}")


models = App(name="models", help="List the models that stood for champion, promote one, roll back.")
app.command(models)


@models.command(name="list")
def list_models(*, data: Options[DataParameters] = DATA, as_json: AsJson = False) -> None:
    """Print who stood for champion, oldest first; the champion has a star."""
    _show_models(data, as_json)


@models.command
def promote(model: str, /, *, data: Options[DataParameters] = DATA, as_json: AsJson = False) -> None:
    """Make MODEL champion, as it was trained last on the published data.

    Parameters
    ----------
    model
        Its name, such as dmd.
    """
    from flows.models import promote

    promote(data, model)
    _show_models(data, as_json)


@models.command
def roll_back(*, data: Options[DataParameters] = DATA, as_json: AsJson = False) -> None:
    """Withdraw the champion: the one before it serves again."""
    from tasks import champion

    champion.roll_back(data.models_folder)
    _show_models(data, as_json)


def _show_models(data: DataParameters, as_json: bool) -> None:
    from flows.models import describe, standing

    found = standing(data)
    print(json.dumps({"decisions": found}, default=str) if as_json else describe(found))


@app.command
def report(*, data: Options[DataParameters] = DATA) -> None:
    """Draw the page of results again, of all that was trained.

    It is of the models on the data set that was published last, each as it was trained last.
    """
    from flows.local_server import at_hand
    from flows.train import report_published

    with at_hand():
        page = report_published(data)
    print(f"\nresults: {page}")


@app.command
def watch(folder: Path, /, *, watching: Options[WatchParameters] = WATCH) -> None:
    """Tell Prefect of files that arrive in FOLDER, until Ctrl-C.

    Each time that files came, changed or went, it gets an event `dmd.data.arrived`, which starts `retrain/nightly`.

    Parameters
    ----------
    folder
        The raw folder of a data set.
    """
    from flows import watch

    for line in watch.watch(folder, watching.settle_seconds):
        print(line, flush=True)


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
    "Data sets and models": ("run", "extract", "train", "compare", "search", "retrain"),
    "Predictions and exchange": ("predict", "import", "export", "models", "report"),
    "Prefect as a service": ("watch", "up", "down", "status"),
    "The command itself": ("--help", "--version", "--install-completion"),
}
"""The chapters of `dmd --help`, in which every command has its place."""
app.register_install_completion_command(help="Have the shell complete commands and options.")
for title, commands in CONTENTS.items():
    chapter = Group.create_ordered(title)
    for place, name in enumerate(commands):
        app[name].group, app[name].sort_key = chapter, place
