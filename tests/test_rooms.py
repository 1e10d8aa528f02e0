"""House rules: which room imports which, and how large its files and functions get."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("transforms", "pipelines", "trainers")
MAY_NOT_IMPORT = {
    "transforms": {"apache_beam", "keras", "tensorflow_transform", "pipelines", "trainers"},
    "pipelines": {"trainers", "keras"},
    "trainers": {"apache_beam", "tensorflow_transform", "pipelines"},
}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
LONGEST_FILE, LONGEST_FUNCTION = 250, 45


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path):
    room = path.relative_to(ROOT).parts[0]
    assert not imports_of(path) & MAY_NOT_IMPORT[room]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno - len((ast.get_docstring(node) or "").splitlines())
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def test_help_answers_without_heavy_imports():
    script = (
        "import sys, fma\n"
        "for command in [[], *([name] for name in fma.COMMANDS)]:\n"
        "    try: fma.main([*command, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0, command\n"
        "names = 'apache_beam tensorflow keras librosa pandas sklearn matplotlib'\n"
        "heavy = set(names.split()) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("example: fma ") >= 1


def test_every_command_has_an_example_in_its_help():
    import argparse
    import importlib

    import fma

    for name in fma.COMMANDS:
        parser = argparse.ArgumentParser()
        importlib.import_module(fma.module_name(name)).add_arguments(parser)
        assert f"fma {name}" in (parser.epilog or ""), name
        assert parser.description, name


def test_an_unknown_command_is_exit_code_2():
    ran = subprocess.run([sys.executable, "-m", "fma", "ingset"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 2
    assert "ingset" in ran.stderr
