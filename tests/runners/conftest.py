"""The matrix of runners, with its table at the end: `make test-runners`."""

import json
from pathlib import Path

import pytest

from tests.runners import tools
from transforms.runtime.console import format_table

ROWS: dict[str, list[str]] = {}
COLUMNS = ("runner", "ingest", "statistics", "digest", "")


class Table:
    """Collects what the matrix found, by runner."""

    def ingested(self, runner: str, seconds: float, digest: str, note: str = "") -> None:
        ROWS[runner] = [runner, f"{seconds:.1f} s", "", digest[:12], note]

    def analysed(self, runner: str, seconds: float) -> None:
        ROWS[runner][2] = f"{seconds:.1f} s"


@pytest.fixture(scope="session")
def table() -> Table:
    return Table()


def pytest_terminal_summary(terminalreporter) -> None:
    if ROWS:
        terminalreporter.write_line(format_table("the same corpus on every runner", COLUMNS, ROWS.values()))


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
