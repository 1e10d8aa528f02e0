"""`fma run`: the whole workflow with real steps, each in its own process."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import fma
from pipelines.workflow import EMBED, Result, Workflow, describe_change, key_of, read_done, write_done
from tests.embeddings import add_embeddings
from tests.pipelines.ingest.test_ingest import make_music
from transforms.errors import FmaError

SMALL = ("--n-mels", "32", "--window-frames", "24", "--features", "raw", "--direct_running_mode", "in_memory")
TINY = ("--options", "waveform_cnn=--epochs 1 --width .1")


def run(folder: Path, *more: str, models: str = "waveform_cnn") -> int:
    paths = ["--audio", str(folder), "--metadata", str(folder / "tracks.csv"), "--out", str(folder / "work")]
    options = TINY if "waveform_cnn" in models else ()
    return fma.main(["run", *paths, "--models", models, *options, *SMALL, *more])


def outcome(text: str) -> dict[str, str]:
    """The result of each step, from the table at the end."""
    lines = [line.split() for line in text.splitlines()]
    names = {"ingest", "statistics", *EMBED, "fusion", "waveform_cnn", "baselines", "report"}
    return {words[0]: words[1] for words in lines if len(words) > 1 and words[0] in names and words[1] != "failed;"}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory) -> tuple[Path, int, str]:
    """The folder, exit code and output of a run whose baselines fail: they need stats, and there is only raw."""
    folder = tmp_path_factory.mktemp("run")
    make_music(folder)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = run(folder, models="waveform_cnn,baselines")
    return folder, code, output.getvalue()


@pytest.fixture
def music(first_run) -> Path:
    return first_run[0]


def test_the_plan_shows_every_step_and_writes_nothing(tmp_path, capsys):
    make_music(tmp_path)
    assert run(tmp_path, "--plan") == 0
    text = capsys.readouterr().out
    assert "12 new tracks" in text
    assert "after statistics" in text.replace("ingest, ", "")
    assert not (tmp_path / "work").exists()


def test_a_failed_step_costs_no_other_and_is_named_with_the_command_that_runs_it_alone(first_run):
    folder, code, text = first_run
    assert code == 1
    assert outcome(text) == {
        "ingest": "done",
        "statistics": "skipped",
        "waveform_cnn": "done",
        "baselines": "failed",
        "report": "done",
    }
    assert f"baselines failed; to run it alone: fma baselines --data {folder / 'work' / 'dataset'} --run" in text
    assert (folder / "work" / "report.html").stat().st_size > 10_000


def test_a_second_run_does_nothing_and_says_so(music, capsys):
    before = {path: path.stat().st_mtime_ns for path in (music / "work").rglob("*") if path.is_file()}
    assert run(music) == 0
    text = capsys.readouterr().out
    assert "nothing to do: no input of any step has changed" in text
    assert set(outcome(text).values()) == {"skipped"}
    assert {path: path.stat().st_mtime_ns for path in (music / "work").rglob("*") if path.is_file()} == before


@pytest.mark.long
def test_after_adding_tracks_only_the_steps_behind_them_run_and_the_older_run_stays(music, capsys):
    make_music(music, tracks=16)
    assert run(music) == 0
    printed = capsys.readouterr()
    assert any(line.startswith("      fma ingest --audio ") for line in printed.err.splitlines())
    found = outcome(printed.out)
    assert found == {"ingest": "done", "statistics": "skipped", "waveform_cnn": "done", "report": "done"}
    assert len(list((music / "work" / "runs").glob("waveform_cnn-*"))) == 2


def test_a_report_that_was_deleted_is_made_again_and_nothing_else(music, capsys):
    (music / "work" / "report.html").unlink()
    assert run(music) == 0
    found = outcome(capsys.readouterr().out)
    assert (found["waveform_cnn"], found["report"]) == ("skipped", "done")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--models", "no_such_model"), "no_such_model"),
        (("--models", "waveform_cnn,waveform_cnn"), "name each model once"),
        (("--options", "mel_cnn=--epochs 3"), "write MODEL=OPTIONS with a model of --models"),
        (("--options", "waveform_cnn=--epochs many"), "--epochs"),
        (("--no-such-option", "3"), "no-such-option"),
    ],
)
def test_arguments_of_every_step_are_checked_before_the_first_one_runs(tmp_path, more, message, capsys):
    make_music(tmp_path, tracks=4)
    try:
        code = run(tmp_path, *more)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.mark.long
def test_the_fusion_is_fitted_on_embeddings_that_are_there_and_again_when_they_change(music, capsys):
    dataset = str(music / "work" / "dataset")
    add_embeddings(dataset, "yamnet")
    add_embeddings(dataset, "mobilenet_v2", {"block_6": 3, "block_9": 5})
    assert run(music, models="fusion") == 0
    printed = capsys.readouterr()
    done = {"fusion": "done", "report": "done"}
    assert outcome(printed.out) == {"ingest": "skipped"} | dict.fromkeys(EMBED, "skipped") | done
    assert "fma baselines --models fusion --refit train+val --data" in printed.err
    assert run(music, models="fusion") == 0
    assert set(outcome(capsys.readouterr().out).values()) == {"skipped"}
    assert fma.main(["embed", dataset, "--remove", "yamnet"]) == 0
    add_embeddings(dataset, "yamnet", seed=1)
    assert run(music, models="fusion") == 0
    assert outcome(capsys.readouterr().out)["fusion"] == "done"


def test_without_the_weights_of_the_fusion_there_are_the_classical_models(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FMA_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("FMA_WEIGHTS_URL", "http://fma.invalid")
    monkeypatch.chdir(tmp_path)
    for name in ("rock/a.mp3", "folk/b.mp3"):
        (tmp_path / "music" / name).parent.mkdir(parents=True)
        (tmp_path / "music" / name).write_bytes(b"no song")
    assert fma.main(["run", "music"]) == 1  # since none of these files is a song
    text = capsys.readouterr()
    assert "without fusion: http://fma.invalid/yamnet.h5: the server's name cannot be resolved" in text.err
    assert "models for 2 tracks: baselines" in text.err
    assert outcome(text.out) == {"ingest": "failed", "baselines": "not", "report": "not"}


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    options = SimpleNamespace(out=str(tmp_path / "dataset"), beam_options=[])
    return Workflow(str(tmp_path), options, [], {"mel_cnn": [], "waveform_cnn": [], "baselines": []})


def test_a_step_behind_one_that_runs_is_planned_to_run_and_others_are_not(workflow, monkeypatch):
    monkeypatch.setattr(workflow, "check", lambda step: (step == "statistics", "because"))
    assert workflow.plan() == {
        "ingest": (False, "because"),
        "statistics": (True, "because"),
        "mel_cnn": (True, "after statistics"),
        "waveform_cnn": (True, "after statistics"),
        "baselines": (False, "because"),
        "report": (True, "after mel_cnn, waveform_cnn"),
    }


def test_a_step_runs_with_what_there_is_of_what_it_takes_but_not_without_any(workflow):
    done = dict.fromkeys(workflow.steps, Result.DONE)
    assert workflow.blocked_by("report", done | {"mel_cnn": Result.FAILED, "baselines": Result.NOT_RUN}) == ""
    failed = done | {"mel_cnn": Result.FAILED, "waveform_cnn": Result.NOT_RUN, "baselines": Result.FAILED}
    assert workflow.blocked_by("report", failed) == "needs mel_cnn, waveform_cnn, baselines"
    assert workflow.blocked_by("mel_cnn", done | {"statistics": Result.FAILED}) == "needs statistics"
    assert workflow.blocked_by("baselines", done | {"statistics": Result.FAILED}) == ""
    assert workflow.blocked_by("statistics", done | {"ingest": Result.FAILED}) == "needs ingest"


def test_the_memory_of_a_folder_names_what_changed(tmp_path):
    write_done(str(tmp_path), {"train": {"dataset": "1", "settings": ["--seed", "0"]}})
    before = read_done(str(tmp_path))["train"]
    assert describe_change(before, {"dataset": "1", "settings": ["--seed", "0"]}) == ""
    assert describe_change(before, {"dataset": "2", "settings": ["--seed", "0"]}) == "dataset changed"
    assert describe_change(None, {}) == "first time"
    assert json.loads((tmp_path / "run.json").read_text())["format_version"] == 1


def test_a_damaged_memory_is_one_line(tmp_path, capsys):
    make_music(tmp_path, tracks=4)
    (tmp_path / "work").mkdir()
    for text in ('{"format_version": 1, "do', '{"format_version": "1", "done": {}}', '{"done": {}}', "[]"):
        (tmp_path / "work" / "run.json").write_text(text)
        assert run(tmp_path, "--plan") == 1
        assert "run.json is damaged" in capsys.readouterr().err


def test_a_memory_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"format_version": 2, "done": {}}')
    with pytest.raises(FmaError, match="has format version 2, this program reads 1: update fma-genres"):
        read_done(str(tmp_path))


def test_keys_do_not_depend_on_the_order_of_the_inputs_or_the_process():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) == "ae8a9a50"
    assert json.loads(json.dumps(key_of({"a": 2}))) != key_of({"a": 1})


def test_one_word_is_enough_and_the_models_are_chosen_by_the_amount_of_music(tmp_path, monkeypatch, capsys):
    for genre, name in (("rock", "a"), ("rock", "b"), ("folk", "c")):
        (tmp_path / "music" / genre).mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / genre / f"{name}.mp3").write_bytes(b"not read by a plan")
    monkeypatch.chdir(tmp_path)
    assert fma.main(["run", str(tmp_path / "music"), "--plan"]) == 0
    text = capsys.readouterr()
    steps = ["ingest", "embed-yamnet", "embed-mobilenet_v2", "fusion", "baselines", "report"]
    assert [line.split()[0] for line in text.out.splitlines()[3:]] == steps
    assert "fma run in music-fma" in text.out
    assert "models for 3 tracks: fusion, baselines (--models chooses others)" in text.err
    assert text.err.count("tags: 3 of 3 files") == 1  # read once for both decisions
    assert not (tmp_path / "music-fma").exists()
    monkeypatch.chdir(tmp_path / "music")
    assert fma.main(["run", ".", "--plan"]) == 0
    assert "fma run in music-fma" in capsys.readouterr().out
