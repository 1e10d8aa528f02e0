"""The command line that all commands share: names, misspelt ones, the version, the home folder."""

import importlib
import importlib.metadata
import subprocess
import sys

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

import fma


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ingset"], "fma: error: unknown command ingset (did you mean ingest?)"),
        (["frobnicate"], "fma: error: unknown command frobnicate; fma --help lists them"),
        (["ingest", "--max-failure", "3"], "unknown option --max-failure (did you mean --max-failures?)"),
        (["ingest", "--max_failures=3"], "unknown option --max_failures (did you mean --max-failures?)"),
        (["run", "--audoi", "music"], "unknown option --audoi (did you mean --audio?)"),
        (["train", "mel_cnn", "--epoch", "3"], "unknown option --epoch (did you mean --epochs?)"),
    ],
)
def test_a_misspelt_command_or_option_is_named_with_the_one_that_was_meant(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        fma.main(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_misspelt_option_needs_no_beam():
    command = [sys.executable, "-X", "importtime", "-m", "fma", "ingest", "--max-failure", "3"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "apache_beam" not in ran.stderr


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        fma.main(["--version"])
    assert not stopped.value.code
    assert capsys.readouterr().out == f"fma-genres {importlib.metadata.version('fma-genres')}\n"


def test_options_may_stand_anywhere_among_a_commands_files():
    words = ["runs/svm", "--model", "svm", "a.mp3", "--jobs", "2", "b.mp3", "--", "-c.mp3"]
    _, args = fma.parse("predict", words)
    assert (args.run, args.model, args.jobs, args.files) == ("runs/svm", "svm", 2, ["a.mp3", "b.mp3", "-c.mp3"])


def test_the_home_folder_is_expanded_in_every_argument(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    _, args = fma.parse("ingest", ["--audio=~/music", "--metadata", "~/music.csv", "--out", "set~1"])
    assert (args.audio, args.metadata, args.out) == ("/home/ada/music", "/home/ada/music.csv", "set~1")


@pytest.mark.parametrize("command", [name for name in fma.COMMANDS if name in ("ingest", "run", "statistics")])
def test_no_option_of_beam_is_taken_for_a_misspelt_one(command):
    parser = fma.Parser()
    importlib.import_module(fma.module_name(command)).add_arguments(parser)
    ours = parser.format_help()
    for name in PipelineOptions().get_all_options():
        option = f"--{name}"
        if option not in ours:
            assert parser.did_you_mean(option) == "", option
