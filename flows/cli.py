"""The command `dmd`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, CycloptsPanel, Parameter
from cyclopts.validators import Number
from pydantic import ValidationError

from flows.parameters import (
    CompareParameters,
    DataParameters,
    ExtractParameters,
    PredictParameters,
    RetrainParameters,
    RunParameters,
    SearchParameters,
    TrainParameters,
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
registry = App(name="models", help="The trained models of a data set: which of them serves.")
app.command(registry)


def main() -> None:
    """The console script: an error that explains itself is one sentence and exit code 1."""
    try:
        app()
    except Exception as error:
        if not hasattr(error, "reason"):
            raise
        sys.exit(f"dmd: {error}")


Home = Annotated[Path, Parameter(help="Folder in which everything lands.", env_var="DMD_HOME")]
HOME = Path(".dmd")
TextFeatures = Literal["glove", "bert"]
Form = Literal["mmsa", "npz", "zarr", "huggingface"]
DEFAULTS, EXTRACT, TRAIN = RunParameters(), ExtractParameters(), TrainParameters()
COMPARE, SEARCH = CompareParameters(), SearchParameters()
RETRAIN, DATA = RetrainParameters(), DataParameters()


@app.command
def run(
    *, run: Annotated[RunParameters, Parameter(name="*", consume_multiple=True, negative_iterable=())] = DEFAULTS
) -> int:
    """Run the pipeline: raw video (or the sample corpus) to word-aligned features, trained models and a report."""
    return _run(run)


@app.command
def extract(
    *, run: Annotated[ExtractParameters, Parameter(name="*", consume_multiple=True, negative_iterable=())] = EXTRACT
) -> int:
    """Run the pipeline to the published data set: what is new, or has other settings, is measured, and nothing else."""
    return _run(run)


@app.command
def train(
    *, run: Annotated[TrainParameters, Parameter(name="*", consume_multiple=True, negative_iterable=())] = TRAIN
) -> int:
    """Train models on a published data set, evaluate them and write a page of results."""
    return _train(run)


@app.command
def compare(
    *, run: Annotated[CompareParameters, Parameter(name="*", consume_multiple=True, negative_iterable=())] = COMPARE
) -> int:
    """Train DMD and its twelve baselines on a published data set, with five seeds, and set them side by side."""
    return _train(run)


@app.command
def retrain(
    *, run: Annotated[RetrainParameters, Parameter(name="*", consume_multiple=True, negative_iterable=())] = RETRAIN
) -> int:
    """Train the champion's model again on data that have arrived, and promote it if it has become better."""
    from flows.local_server import at_hand
    from flows.retrain import retrain as flow

    with at_hand():
        state = flow(run, return_state=True)
    page = state.result()
    print(f"\nretraining: {page}" if page else f"\n{state.message}")
    return 0


@app.command
def watch(folder: Path, *, settle_seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 30) -> None:
    """Tell Prefect (event `dmd.data.arrived`) each time that files in FOLDER came, changed or went; until Ctrl-C.

    Parameters
    ----------
    folder
        The raw folder of a data set.
    settle_seconds
        Files are announced when nothing has changed for so long.
    """
    from flows import watch

    for line in watch.watch(folder, settle_seconds):
        print(line, flush=True)


@registry.command(name="list")
def list_models(*, data: Annotated[DataParameters, Parameter(name="*")] = DATA) -> None:
    """Print who stood for champion, oldest first, and what was decided; the champion has a star."""
    from flows.models import listing

    print(listing(data))


@registry.command
def roll_back(*, data: Annotated[DataParameters, Parameter(name="*")] = DATA) -> None:
    """Withdraw the champion: the one before it serves again."""
    from flows.models import listing
    from tasks import champion

    champion.roll_back(data.models_folder)
    print(listing(data))


@registry.command
def promote(model: str, *, data: Annotated[DataParameters, Parameter(name="*")] = DATA) -> None:
    """Make MODEL champion, as it was trained last on the data set that is published.

    Parameters
    ----------
    model
        Its name, such as dmd.
    """
    from flows import models

    models.promote(data, model)
    print(models.listing(data))


@app.command
def search(
    *, run: Annotated[SearchParameters, Parameter(name="*", consume_multiple=True, negative_iterable=())] = SEARCH
) -> None:
    """Search for better settings of a model, by its error on the valid split (needs the extra `search`)."""
    from flows.train import search_settings

    print(f"\nbest settings: {search_settings(run)}")


def _run(run: RunParameters) -> int:
    from flows.dmd import dmd
    from flows.local_server import at_hand

    with at_hand():
        page = dmd(run)
    if page is not None:
        print(f"\nreport: {page}")
    return 0


def _train(run: TrainParameters) -> int:
    from flows.local_server import at_hand
    from flows.train import train_published

    with at_hand():
        page = train_published(run)
    print(f"\nresults: {page}")
    return 0


@app.command(name="import")
def import_(
    path: Path, *, dataset: str, text: TextFeatures = "glove", home: Home = HOME, store: str | None = None
) -> int:
    """Check a file or folder of features of the field and publish it as a data set.

    Parameters
    ----------
    path
        An .npz, a pickle of MMSA, MulT or MISA, a folder of .csd or of a file a split, or what `dmd export` wrote.
    dataset
        Name of the data set.
    text
        What the text features are.
    store
        URL of the store; by default a folder in HOME.
    """
    return run(
        run=RunParameters(dataset=dataset, features=path, text=text, home=home, store=store, stop_after="validate")
    )


@app.command
def export(
    path: Path, *, format: Form, dataset: str, text: TextFeatures = "glove", home: Home = HOME, store: str | None = None
) -> None:
    """Write the data set that was published last to PATH, where there must be nothing yet.

    Parameters
    ----------
    path
        A file (mmsa, npz) or folder (zarr, huggingface).
    format
        What to write.
    dataset
        Name of the data set.
    text
        Which feature becomes the text of formats that have one text.
    store
        URL of the store; by default a folder in HOME.
    """
    from flows.train import published_data
    from storage.interchange import formats

    found, published = published_data(TrainParameters(dataset=dataset, home=home, store=store))
    formats.write(found.aligned(published.fingerprint, at=published.snapshot), path, format, text)
    print(f"{published.tag} written to {path}")


@app.command
def predict(run: Annotated[PredictParameters, Parameter(name="*", negative_iterable=())]) -> None:
    """Read a video of your own with a trained model: a page to look at, and tables of every segment and word."""
    from flows.local_server import at_hand
    from flows.predict import predict_video

    with at_hand():
        page = predict_video(run)
    print(f"\nprediction: {page}")


@app.command
def sample(folder: Path, *, segments: int = 60, seed: int = 0) -> None:
    """Make the embedded corpus of talking-head video in FOLDER.

    Parameters
    ----------
    folder
        Where `Raw/` and `label.csv` are written.
    segments
        How many segments.
    seed
        The same seed makes the same bytes.
    """
    from tasks.sample import build

    build(folder, segments, seed)


@app.command
def doctor() -> None:
    """Say which model files are here, which would be fetched from where, and what this machine trains on."""
    from flows.doctor import examine

    print(examine())


@app.command
def up(*, home: Home = HOME, port: int = 4200) -> None:
    """Start Prefect on this machine (server, worker, deployments), for `prefect deployment run dmd/full`.

    Parameters
    ----------
    port
        Where the server listens on the loopback address.
    """
    from flows import local_server

    address = local_server.up(home, port)
    print(f"Prefect is up: {address}\nprefect deployment run dmd/full   runs the pipeline\ndmd down   ends it all")


@app.command
def down(*, home: Home = HOME) -> None:
    """End what `dmd up` started."""
    from flows import local_server

    print(f"ended {local_server.down(home)} processes")


@app.command
def status(*, home: Home = HOME) -> int:
    """Say whether what `dmd up` started is running."""
    from flows import local_server

    processes = local_server.running(home)
    for name, process in processes.items():
        print(f"{name}: running, process {process.pid}, log {home / name}.log")
    if not processes:
        print("not up")
    return 0 if processes else 1
