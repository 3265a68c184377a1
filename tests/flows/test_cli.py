"""The command `dmd`, as people type it: what it offers, what it answers to mistakes, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cyclopts import App
from pydantic import BaseModel

from dmd_model.registry import MODELS
from flows import cli
from flows.parameters import CompareParameters, RunParameters, TrainParameters
from tests.conftest import REPOSITORY

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
        (["run", "--dataset", "mosi"], "data set 'mosi' needs raw (a folder of video) or features (a file)"),
        (["run", "--raw", "a", "--features", "b"], "not both"),
        (["run", "mosi"], "mosi"),
        (["sample"], "FOLDER requires an argument"),
        (["sample", "corpus", "--segments", "3"], "--segments: Input should be greater than or equal to 12"),
        (["up", "--port", "99999"], "--port: Input should be less than or equal to 65535"),
        (["train", "--model", "dmdd"], "no model is named 'dmdd'; there are dmd, ef-lstm"),
        (["search", "--models", "dmd", "mult"], "at most 1 item"),
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
        "Error --stop-after: Input should be 'ingest', 'align', 'extract', 'validate' or 'train' "
        "--segments: Input should be greater than or equal to 12"
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


def test_a_run_on_a_folder_without_labels_says_so(capsys, prefect_server, tmp_path):
    (tmp_path / "raw").mkdir()
    code, _, complaint = dmd(
        capsys, "run", "--dataset", "mine", "--raw", str(tmp_path / "raw"), "--home", str(tmp_path)
    )
    assert code == 1
    assert f"dmd: {tmp_path / 'raw'} has no label.csv" in complaint and "Traceback" not in complaint


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
