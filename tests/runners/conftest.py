"""The matrix of runners, with its table at the end: `make test-runners`."""

import json
import shutil
from pathlib import Path

import pytest

from tests.encoders import write_encoder
from tests.runners import tools
from transforms.dataset.manifest import load
from transforms.runtime.console import format_table

ROWS: dict[str, dict[str, str]] = {}
COLUMNS = ("runner", "ingest", "statistics", "embed", "verify", "compact", "digest", "")


class Table:
    """Collects what the matrix found, by runner."""

    def took(self, runner: str, command: str, seconds: float) -> None:
        self._row(runner)[command] = f"{seconds:.1f} s"

    def found(self, runner: str, digest: str, note: str = "") -> None:
        self._row(runner).update({"digest": digest[:12], "": note})

    def _row(self, runner: str) -> dict[str, str]:
        return ROWS.setdefault(runner, {"runner": runner})


@pytest.fixture(scope="session")
def table() -> Table:
    return Table()


def pytest_terminal_summary(terminalreporter) -> None:
    if ROWS:
        rows = [[row.get(column, "") for column in COLUMNS] for row in ROWS.values()]
        terminalreporter.write_line(format_table("the same corpus on every runner", COLUMNS, rows))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return tools.make_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="session")
def reference(corpus, tmp_path_factory) -> Path:
    """The corpus ingested in one process, with statistics."""
    out = tmp_path_factory.mktemp("reference") / "dataset"
    tools.ingest(corpus, out, "--direct_running_mode=in_memory")
    tools.analyse(out, "--direct_running_mode=in_memory")
    return out


@pytest.fixture(scope="session")
def sample(corpus, reference) -> tools.Sample:
    return tools.Sample(corpus, json.loads((reference / "dataset.json").read_text())["digest"])


@pytest.fixture(scope="session")
def embedded(reference, tmp_path_factory) -> tools.Embedded:
    """The corpus embedded in one process, by a small encoder of raw windows."""
    folder = tmp_path_factory.mktemp("embedded")
    encoder = write_encoder(folder / "tiny", load(str(reference)).config)
    copy = shutil.copytree(reference, folder / "dataset")
    return tools.Embedded(reference, encoder, tools.embed(copy, encoder, "--direct_running_mode=in_memory")[0])


@pytest.fixture(scope="session")
def batches(corpus, tmp_path_factory) -> Path:
    """The corpus ingested in one process: as three generations in before/, and compacted in after/."""
    folder = tmp_path_factory.mktemp("batches")
    tools.ingest(corpus, folder / "before", "--direct_running_mode=in_memory", "--commit-every", "30")
    shutil.copytree(folder / "before", folder / "after")
    tools.compact(folder / "after", "--workers=1")
    return folder


@pytest.fixture(scope="session")
def prism() -> Path:
    if tools.missing("go"):
        pytest.skip("Prism is built with Go, which is not installed")
    return tools.build_prism()


@pytest.fixture(scope="session")
def job_service():
    with tools.running_job_service() as options:
        yield options


@pytest.fixture(scope="session")
def cluster():
    absent = tools.missing("java", "mvn")
    if absent:
        pytest.skip(f"Flink needs Java and Maven; not installed: {absent}")
    with tools.running_cluster() as running:
        yield running
