"""The command and the folder it writes to; what a corpus holds is in test_corpus.py."""

import json
from pathlib import Path

import pytest

import fma
from transforms.commands.sample import next_command
from transforms.corpus.options import CorpusOptions, validate
from transforms.corpus.plan import plan_songs
from transforms.corpus.writer import COMPLETE, STARTED, CorpusSummary, write_corpus
from transforms.errors import UsageError

TINY = CorpusOptions(tracks_per_genre=1, subset="small", clip_seconds=3, sample_rate=22_050, channels=1, bitrate=32)
TINY_ARGUMENTS = [
    *("--tracks-per-genre", "1", "--subset", "small", "--clip-seconds", "3"),
    *("--sample-rate", "22050", "--channels", "1", "--bitrate", "32"),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> CorpusSummary:
    """A track of each genre in one split, and the broken files."""
    return write_corpus(tmp_path_factory.mktemp("tiny"), TINY)


def contents(folder: str) -> dict[str, bytes]:
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_bytes_do_not_depend_on_the_number_of_threads(tiny, tmp_path):
    write_corpus(tmp_path, TINY, jobs=4)
    assert contents(str(tmp_path)) == contents(tiny.out)


def test_a_corpus_that_is_there_is_left_as_it_is(tiny):
    before = {path: path.stat().st_mtime_ns for path in Path(tiny.out).rglob("*")}
    again = write_corpus(tiny.out, TINY)
    assert not again.written and again.songs == tiny.songs
    assert {path: path.stat().st_mtime_ns for path in Path(tiny.out).rglob("*")} == before


def test_a_corpus_with_other_options_is_refused(tiny):
    with pytest.raises(UsageError, match="seed is 0, not 1"):
        write_corpus(tiny.out, CorpusOptions(**TINY.to_json() | {"seed": 1}))


@pytest.mark.parametrize("name", ["letters.txt", COMPLETE])
def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path, name):
    (tmp_path / name).write_text("[1]", encoding="utf-8")
    with pytest.raises(UsageError, match="choose another"):
        write_corpus(tmp_path, TINY)
    assert contents(str(tmp_path)) == {name: b"[1]"}


def test_an_interrupted_corpus_is_completed_by_the_same_command(tiny, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("transforms.corpus.writer.genres_csv", stop)
        write_corpus(tmp_path, TINY)
    assert (tmp_path / STARTED).exists() and not (tmp_path / COMPLETE).exists()
    assert write_corpus(tmp_path, TINY).written
    assert contents(str(tmp_path)) == contents(tiny.out)


def test_bad_options_are_all_named():
    with pytest.raises(UsageError, match=r"--clip-seconds.*--bitrate.*--channels"):
        validate(CorpusOptions(clip_seconds=1, bitrate=100, channels=3))


def test_the_command_says_what_comes_next(tmp_path, capsys):
    out = str(tmp_path / "corpus")
    assert fma.main(["sample", "--out", out, *TINY_ARGUMENTS]) == 0
    first = capsys.readouterr().out
    assert "8 clips" in first and f"--audio {out}/audio --metadata {out}/fma_metadata --subset small" in first
    assert fma.main(["sample", "--out", out, *TINY_ARGUMENTS]) == 0
    assert "already there" in capsys.readouterr().out


def test_the_next_command_allows_for_broken_files_only_where_it_must(tiny):
    assert next_command(tiny).endswith("--max-failures 51")  # 8 of 16 rows
    usual = CorpusOptions()
    assert "--max-failures" not in next_command(CorpusSummary("corpus", usual, tuple(plan_songs(usual)), True))


@pytest.mark.parametrize("arguments", [["--bitrate", "100"], ["--jobs", "0"], ["--subset", "full"]])
def test_a_bad_argument_exits_with_2_and_writes_nothing(tmp_path, arguments, capsys):
    try:
        code = fma.main(["sample", "--out", str(tmp_path / "corpus"), *arguments])
    except SystemExit as error:  # argparse's way
        code = error.code
    assert code == 2
    assert capsys.readouterr().err.count("\n") <= 6 and not list(tmp_path.iterdir())


def test_the_stamp_holds_the_options(tiny):
    stamp = json.loads((Path(tiny.out) / COMPLETE).read_text(encoding="utf-8"))
    assert stamp["seed"] == 0 and stamp["clip_seconds"] == 3
