"""A job that is killed when it is nearly done: the next run builds the rest."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.pipelines.ingest.test_resume import built
from tests.processes import descendants
from tests.runners import tools
from transforms.dataset import manifest as manifests

SHARE = 0.9  # of the shards that are built before the job is killed


@pytest.mark.timeout(900)
def test_when_a_job_on_flink_was_killed_at_nine_tenths_the_next_builds_the_rest(cluster, sample, reference, tmp_path):
    out = tmp_path / "dataset"
    shards = len({file.name for file in manifests.load(str(reference)).files()})
    command = tools.ingest_command(sample.corpus, out, *cluster.options)
    job = subprocess.Popen(command, cwd=tools.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list(out.glob("plan/*/results/*.json"))) < SHARE * shards:
        assert job.poll() is None, job.stderr.read()[-4000:]
        time.sleep(0.01)
    (job_server,) = descendants(job.pid)
    job.kill()
    cluster.cancel()
    job.communicate()
    os.kill(job_server, signal.SIGTERM)
    stamps = built(out)
    names = {path.name.partition(".")[0] for path in stamps}
    assert SHARE * shards <= len(names) < shards, "killed too late"
    assert not (out / "dataset.json").exists()
    again = subprocess.run(command, cwd=tools.ROOT, capture_output=True, text=True, check=True)
    assert f"{len(names)} of {shards} shards were built before" in again.stderr
    assert json.loads(again.stdout)["digest"] == sample.digest
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert not (out / "plan").exists()
