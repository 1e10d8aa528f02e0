"""Which changes of the program make workers of an older image refuse a job."""

import shutil
from pathlib import Path

import pytest

from pipelines.shard_jobs import WORKER_PACKAGES, code_digest, digest_source

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def source(tmp_path) -> dict[str, Path]:
    """A copy of the packages that workers import."""
    return {name: Path(shutil.copytree(ROOT / name, tmp_path / name)) for name in WORKER_PACKAGES}


def test_a_copy_elsewhere_has_the_same_digest(source):
    assert digest_source(source) == code_digest()


@pytest.mark.parametrize("path", ["transforms/audio/mel.py", "transforms/config.py", "pipelines/ingest/beam.py"])
def test_a_change_in_what_workers_run_changes_the_digest(source, tmp_path, path):
    with (tmp_path / path).open("a") as file:
        file.write("# changed\n")
    assert digest_source(source) != code_digest()


@pytest.mark.parametrize(
    "path", ["transforms/corpus/plan.py", "transforms/commands/sample.py", "pipelines/workflow.py"]
)
def test_a_change_in_what_only_the_launcher_runs_does_not(source, tmp_path, path):
    with (tmp_path / path).open("a") as file:
        file.write("# changed\n")
    assert digest_source(source) == code_digest()
