"""House rules that neither ruff nor import-linter checks (their rules stand in pyproject.toml)."""

import argparse
import ast
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import grimp

import fma

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("transforms", "pipelines", "trainers")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LONGEST_FILE, LONGEST_FUNCTION = 400, 45
ADVISED = rf"(?:\b(?:run|with|next:|example:) +|\()fma (?:{'|'.join(fma.COMMANDS)})\b"
BEGUN = rf"^fma (?:{'|'.join(fma.COMMANDS)})(?:$| $| [A-Z-])"


def run_python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert list(graphlib.TopologicalSorter(imports).static_order())  # CycleError names the cycle


def test_files_and_functions_stay_small():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LONGEST_FILE, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno - len((ast.get_docstring(node) or "").splitlines())
                assert length <= LONGEST_FUNCTION, f"{path}: {node.name} has {length} lines"


def test_only_the_console_writes_to_standard_streams():
    for path in FILES:
        if path.parent.name != "runtime":  # whose console escapes what controls a terminal
            assert not re.search(r"\bsys\.std(out|err)(?!\.isatty)", path.read_text(encoding="utf-8")), path


def test_messages_name_commands_as_they_were_called():
    for path in [*FILES, ROOT / "fma.py"]:
        if path.parent.name == "report":  # a page that is stored, for readers elsewhere
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.search(f"{ADVISED}|{BEGUN}", node.value)
                assert not found, (
                    f"{path}:{node.lineno}: use called_as or command_line of transforms/runtime/invocation"
                )


def test_reading_a_manifest_loads_no_decoder():
    loaded = run_python("-c", "import sys, transforms.dataset.manifest; print(*sys.modules)")
    assert loaded.returncode == 0, loaded.stderr
    decoders = ("av.", "soundfile", "soxr", "transforms.audio.decode", "transforms.audio.extract")
    assert not {name for name in loaded.stdout.split() if name.startswith(decoders)}


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
    ran = run_python("-c", script)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("example: fma ") >= 1


def test_every_command_has_an_example_in_its_help():
    for name in fma.COMMANDS:
        parser = argparse.ArgumentParser()
        importlib.import_module(fma.module_name(name)).add_arguments(parser)
        assert f"fma {name}" in (parser.epilog or ""), name
        assert parser.description, name
