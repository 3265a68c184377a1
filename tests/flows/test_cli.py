"""The command `dmd`, as people type it: what it offers, what it answers to mistakes, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import pytest
from cyclopts import App
from pydantic import BaseModel

from dmd_model.registry import MODELS
from flows import cli
from flows.parameters import CompareParameters, Form, RunParameters, TrainParameters
from storage import aligned
from storage.interchange import formats
from tests.conftest import REPOSITORY
from tests.flows.conftest import NAME
from tests.tasks.test_validate import good_dataset

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")


def dmd(capsys, *arguments: str) -> tuple[int, str, str]:
    """The exit code of `dmd ...`, and what it prints and complains, on lines without frames and ends."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["dmd", *arguments])
        cli.main()
    code = end.value.code
    if isinstance(code, str):  # as the interpreter does
        print(code, file=sys.stderr)
        code = 1
    texts = (re.sub(r"[\s│╭╮╰╯─]+", " ", text).strip() for text in capsys.readouterr())
    return code or 0, *texts


def commands(app: App = cli.app) -> Iterator[App]:
    """All that can be called; flags such as --help are none."""
    for inner in (app[name] for name in app if not name.startswith("-")):
        yield from [inner] if inner.default_command else commands(inner)


def test_help_reads_as_a_table_of_contents(capsys):
    code, said, _ = dmd(capsys, "--help")
    chapters = [said.index(f" {title} ") for title in cli.CONTENTS]
    places = [said.index(f" {name} ", chapters[0]) for names in cli.CONTENTS.values() for name in names[:-1]]
    assert code == 0 and chapters == sorted(chapters) and places == sorted(places)


def test_every_command_has_its_place_and_a_help_of_one_line():
    placed = [name for names in cli.CONTENTS.values() for name in names]
    assert sorted(placed) == sorted(set(cli.app) - {"-h"})
    for name in placed:
        first_line = cli.app[name].help.partition("\n")[0]
        assert first_line.endswith(".") and len(first_line) < 70, name


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: command.name[0])
def test_every_option_is_a_field_of_the_parameters(command):
    arguments = command.assemble_argument_collection()
    models = [it.hint for it in arguments if isinstance(it.hint, type) and issubclass(it.hint, BaseModel)]
    assert {it.keys[0] for it in arguments if it.keys} == {name for model in models for name in model.model_fields}
    others = [it.names[0] for it in arguments if not it.keys and it.hint not in models]
    assert len(models) <= 1 and all(name in ("--json", name.upper()) for name in others)


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "flows", "--version"], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "0.1.0")


def test_every_parameter_of_a_run_is_an_option_with_its_description(capsys):
    code, said, _ = dmd(capsys, "run", "--help")
    assert code == 0
    for name, field in RunParameters.model_fields.items():
        assert f"--{name.replace('_', '-')} " in said
        assert field.description.replace("`", "")[:15] in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["walk"], 'Unknown command "walk"'),
        (["run", "--nope"], "Unknown option: --nope"),
        (["run", "--stop-after", "report"], "'ingest', 'align', 'extract', 'validate' or 'train'"),
        (["run", "--segments", "3"], "greater than or equal to 12"),
        (["run", "--segments", "many"], "--segments: Input should be a valid integer"),
        (["run", "--min-coverage", "95"], "less than or equal to 1"),
        (["run", "--dataset", "mosi"], "data set 'mosi' needs raw (a folder of video) or features (a file or folder)"),
        (["run", "--raw", "a", "--features", "b"], "not both"),
        (["run", "mosi"], "mosi"),
        (["sample"], "FOLDER requires an argument"),
        (["sample", "corpus", "--segments", "3"], "--segments: Input should be greater than or equal to 12"),
        (["up", "--port", "99999"], "--port: Input should be less than or equal to 65535"),
        (["train", "--model", "dmdd"], "no model is named 'dmdd'; there are dmd, ef-lstm"),
        (["search", "--models", "dmd", "mult"], "at most 1 item"),
        (["retrain", "--dataset", "mosi"], "data set 'mosi' needs raw"),
        (["retrain", "--seeds", "5"], "Unknown option: --seeds"),
        (["watch"], "FOLDER requires an argument"),
        (["watch", "/nowhere"], "no folder /nowhere"),
        (["watch", ".", "--settle-seconds", "0"], "--settle-seconds: Input should be greater than 0"),
        (["import", "a.npz"], "--dataset requires an argument"),
        (["export", "out", "--dataset", "a", "--format", "csv"], "'mmsa', 'npz', 'zarr' or 'huggingface'"),
        (["models", "list", "--home", "/nowhere"], "/nowhere/sample/models has no champion yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_answered_in_a_sentence(capsys, arguments, sentence):
    code, _, complaint = dmd(capsys, *arguments)
    assert code and sentence in complaint
    assert "Traceback" not in complaint


def test_every_wrong_option_has_a_line_and_no_lesson_on_pydantic(capsys):
    _, _, complaint = dmd(capsys, "run", "--stop-after", "report", "--segments", "3")
    assert complaint == (
        "Error --segments: Input should be greater than or equal to 12 "
        "--stop-after: Input should be 'ingest', 'align', 'extract', 'validate' or 'train'"
    )


def test_to_compare_is_to_train_every_model_with_five_seeds():
    run = CompareParameters()
    assert run.models == CompareParameters(models=["all"]).models == list(MODELS) and len(run.models) == 13
    assert run.seeds == CompareParameters(seeds=[5]).seeds == [1111, 1112, 1113, 1114, 1115]
    assert TrainParameters(seeds=[1234]).seeds == [1234]


def test_a_finished_run_says_where_the_report_is(capsys, finished):
    run = finished.parameters()
    options = ["--raw", run.raw, "--home", run.home, "--seeds", 1111, "--dask", run.dask, "--no-trust-word-times"]
    options += ["--frames-per-second", run.frames_per_second, "--text-encoder", run.text_encoder]
    code, said, _ = dmd(capsys, "run", "--dataset", run.dataset, *map(str, options))
    assert code == 0 and said.endswith(f"report: {finished.page}")


def test_training_tells_scripts_its_results_and_nothing_else(capsys, finished):
    run = finished.parameters()
    options = ["--dataset", run.dataset, "--home", str(run.home), "--seeds", "1111", "--json"]
    code, said, _ = dmd(capsys, "train", *options)
    results = json.loads(said)
    assert code == 0 and results["published"]["snapshot"] == finished.store.published().snapshot
    mean, dmd_itself = results["models"]
    assert (dmd_itself["model"], dmd_itself["runs"]) == ("dmd", 1) and dmd_itself["mean"]["mae"] > 0
    assert mean["mean"]["corr"] is None  # of a constant


def test_extraction_again_commits_nothing_and_trains_nothing(capsys, finished, tmp_path):
    home = finished.copy(tmp_path / "home")
    run, before = home.parameters(), home.snapshots()
    options = ["--raw", run.raw, "--home", run.home, "--dask", run.dask, "--no-trust-word-times"]
    options += ["--frames-per-second", run.frames_per_second, "--text-encoder", run.text_encoder]
    code, said, _ = dmd(capsys, "extract", "--dataset", run.dataset, *map(str, options))
    assert code == 0 and said.endswith(f"report: {home.page}")
    assert home.snapshots() == before and home.results.keys() == {
        home.folder / path.relative_to(finished.folder) for path in finished.results
    }


def test_models_are_promoted_listed_and_rolled_back(capsys, finished, tmp_path):
    home = finished.copy(tmp_path / "home")
    options = ["--dataset", NAME, "--home", str(home.folder)]
    _, said, _ = dmd(capsys, "models", "list", *options)
    tag = home.store.published().tag
    assert re.fullmatch(rf"\* \S+ dmd, 1 seeds, {tag} promoted: the first model that was trained", said)
    _, said, _ = dmd(capsys, "models", "list", *options, "--json")
    (champion,) = json.loads(said)["decisions"]
    assert champion["champion"] and champion["ensemble"]["published"]["tag"] == tag
    _, said, _ = dmd(capsys, "models", "promote", "dmd", *options)
    assert re.search(r"trained \* \S+ dmd, 1 seeds, \S+ promoted: chosen by hand$", said)
    _, said, _ = dmd(capsys, "models", "roll-back", *options)
    assert said.startswith("* ") and re.search(r"promoted, withdrawn \S+: chosen by hand$", said)
    code, _, complaint = dmd(capsys, "models", "roll-back", *options)
    assert code == 1 and "no champion before the present one" in complaint
    code, _, complaint = dmd(capsys, "models", "promote", "mult", *options)
    assert code == 1 and "no mult that was trained on" in complaint and "Traceback" not in complaint


def test_retraining_where_nothing_arrived_says_so(capsys, finished):
    run = finished.parameters()
    options = ["--dataset", NAME, "--raw", run.raw, "--home", run.home, "--dask", run.dask, "--no-trust-word-times"]
    options += ["--frames-per-second", run.frames_per_second, "--text-encoder", run.text_encoder]
    code, said, _ = dmd(capsys, "retrain", *map(str, options))
    assert code == 0 and said.endswith(
        "nothing new to judge (0 new, 0 changed and 0 gone segments since the champion was trained)"
    )


def test_a_run_on_a_folder_without_labels_says_so(capsys, prefect_server, tmp_path):
    (tmp_path / "raw").mkdir()
    code, _, complaint = dmd(
        capsys, "run", "--dataset", "mine", "--raw", str(tmp_path / "raw"), "--home", str(tmp_path)
    )
    assert code == 1
    assert f"dmd: {tmp_path / 'raw'} has no label.csv" in complaint and "Traceback" not in complaint


def test_features_come_in_as_one_format_and_go_out_as_every_other(capsys, prefect_server, tmp_path):
    dataset = good_dataset()
    formats.write(dataset, tmp_path / "aligned_50.pkl", "mmsa", "glove")
    at = ["--dataset", "mine", "--home", str(tmp_path)]
    code, _, complaint = dmd(capsys, "export", str(tmp_path / "early"), "--format", "npz", *at)
    assert code == 1 and "has no published data set" in complaint
    code, said, _ = dmd(capsys, "import", str(tmp_path / "aligned_50.pkl"), *at)
    assert code == 0 and said.endswith(f"report: {tmp_path / 'mine' / 'report.html'}")
    for form in get_args(Form):
        path = tmp_path / "out" / form
        code, said, _ = dmd(capsys, "export", str(path), "--format", form, *at)
        assert code == 0 and said.endswith(f"written to {path}")
        assert aligned.digest(formats.read(path, "glove")) == aligned.digest(dataset)
    code, _, complaint = dmd(capsys, "export", str(path), "--format", form, *at)
    assert code == 1 and "is there already" in complaint
    assert set(get_args(Form)) == set(formats.WRITTEN)


def test_a_hostile_pickle_is_refused_in_a_sentence(capsys, prefect_server, tmp_path):
    (tmp_path / "aligned_50.pkl").write_bytes(b"\x80\x04cposix\nsystem\n\x8c\x05touch\x85R.")
    code, _, complaint = dmd(
        capsys, "import", str(tmp_path / "aligned_50.pkl"), "--dataset", "mine", "--home", str(tmp_path)
    )
    assert code == 1 and "aligned_50.pkl asks for posix.system" in complaint and "Traceback" not in complaint


def test_doctor_names_every_model_file(capsys):
    from tasks.assets import ASSETS

    code, said, _ = dmd(capsys, "doctor")
    assert code == 0 and all(name in said for name in ASSETS)
    code, said, _ = dmd(capsys, "doctor", "--json")
    assert code == 0 and [file["name"] for file in json.loads(said)["model_files"]] == list(ASSETS)


def test_status_without_a_server_is_an_exit_code_and_an_empty_object(capsys, tmp_path):
    assert dmd(capsys, "status", "--home", str(tmp_path)) == (1, "not up", "")
    assert dmd(capsys, "status", "--home", str(tmp_path), "--json") == (1, "{}", "")


def test_the_shell_completes_commands_and_options():
    script = cli.app.generate_completion(shell="bash")
    assert all(word in script for word in ("compare", "--stop-after", "--install-completion"))
