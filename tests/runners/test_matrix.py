"""The same corpus on every runner: the same digests, and the same statistics but for rounding."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.pipelines.statistics.test_statistics import apply, records
from tests.runners import tools
from transforms.dataset import manifest as manifests

MULTI = "--direct_running_mode=multi_processing"
IN_MEMORY = "FnApiRunner, in memory"
LOCAL = {
    IN_MEMORY: ["--direct_running_mode=in_memory"],
    "FnApiRunner, 1 process": [MULTI, "--direct_num_workers=1"],
    "FnApiRunner, 2 processes": [MULTI, "--direct_num_workers=2"],
}
PRISM = ("DirectRunner", "PrismRunner")
FLINK, KILLED = "FlinkRunner", "FlinkRunner, TaskManager killed"
PORTABLE = "PortableRunner"
RUNNERS = [*LOCAL, *PRISM, PORTABLE, FLINK]


@pytest.fixture
def options(request) -> Callable[[str], list[str]]:
    """A runner's options for the fma command; skips where the runner cannot be installed."""

    def of(runner: str) -> list[str]:
        if runner in LOCAL:
            return LOCAL[runner]
        if runner in PRISM:
            return [f"--runner={runner}", f"--prism_location={request.getfixturevalue('prism')}"]
        if runner == PORTABLE:
            return request.getfixturevalue("job_service")
        return request.getfixturevalue("cluster").options

    return of


@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_ingests_the_same_dataset(runner, options, sample, table, tmp_path):
    found, seconds = tools.ingest(sample.corpus, tmp_path / "dataset", *options(runner))
    table.took(runner, "ingest", seconds)
    table.found(runner, found)
    assert found == sample.digest


@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_computes_the_same_statistics(runner, options, reference, table, tmp_path):
    chosen = options(runner)
    dataset = tmp_path / "dataset"
    shutil.copytree(reference, dataset, ignore=shutil.ignore_patterns("transform_fn"))
    manifest = manifests.load(str(dataset))
    manifest.transform_fn = None
    manifests.commit(str(dataset), manifest)
    table.took(runner, "statistics", tools.analyse(dataset, *chosen))
    for kind in ("mel", "stats"):
        values = records(dataset, kind)[:8]
        for name, normalized in apply(reference, kind, values).items():
            np.testing.assert_allclose(apply(dataset, kind, values)[name], normalized, rtol=0, atol=1e-3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_computes_the_same_embeddings(runner, options, embedded, table, tmp_path):
    dataset = shutil.copytree(embedded.dataset, tmp_path / "dataset")
    found, seconds = tools.embed(dataset, embedded.encoder, *options(runner))
    table.took(runner, "embed", seconds)
    assert found == embedded.digest


@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_finds_the_same_damage(runner, options, batches, table, tmp_path):
    dataset = shutil.copytree(batches / "before", tmp_path / "dataset")
    spoilt, missing, *_ = [dataset / shard.path for shard in manifests.load(str(dataset)).shards("raw")]
    spoilt.write_bytes(spoilt.read_bytes()[:-50])
    missing.unlink()
    found, seconds = tools.verify(dataset, *options(runner))
    table.took(runner, "verify", seconds)
    assert found == tools.verify(dataset, "--workers=1")[0]
    assert len(found["problems"]) == 2


@pytest.mark.timeout(900)
@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_compacts_to_the_same_files(runner, options, batches, table, tmp_path):
    dataset = shutil.copytree(batches / "before", tmp_path / "dataset")
    table.took(runner, "compact", tools.compact(dataset, *options(runner)))
    assert (dataset / "dataset.json").read_bytes() == (batches / "after" / "dataset.json").read_bytes()
    found, _ = tools.verify(dataset, *options(runner))
    assert found == tools.verify(batches / "after", "--workers=1")[0]
    assert found["ok"]


@pytest.mark.timeout(900)
def test_flink_loses_a_taskmanager_in_the_middle_and_ends_with_the_same_digest(cluster, sample, table, tmp_path):
    out = tmp_path / "dataset"
    begin = time.monotonic()
    command = tools.ingest_command(sample.corpus, out, *cluster.options)
    with subprocess.Popen(command, cwd=tools.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        while job.poll() is None and len(list(out.glob("mel/*/*.tfrecord"))) < 3:
            time.sleep(0.1)
        assert job.poll() is None, job.stderr.read()[-4000:]
        os.kill(cluster.pid("taskmanager-2"), signal.SIGKILL)
        stdout, stderr = job.communicate()
    assert job.returncode == 0, stderr[-4000:]
    found = json.loads(stdout)
    restarts = len(cluster.failures())
    table.took(KILLED, "ingest", time.monotonic() - begin)
    table.found(KILLED, found["digest"], f"restarts: {restarts}")
    assert found["digest"] == sample.digest
    assert restarts
