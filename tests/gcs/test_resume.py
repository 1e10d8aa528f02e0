"""A job in a bucket that dies: the next run builds what is missing there, or is not what was written."""

import os
import signal
import time

import pytest

from tests.gcs.corpus import arguments, digest_of, ingest
from tests.gcs.stack import BUCKET
from tests.processes import start
from transforms import storage
from transforms.dataset import manifest as manifests
from transforms.dataset.generation import ShardResult

pytestmark = pytest.mark.long


def results_of(dataset: str) -> list[ShardResult]:
    """What a job has kept of the shards that it has built."""
    paths = [path for path, _ in storage.list_files(f"{dataset}/plan") if "/results/" in path]
    return [ShardResult.from_line(storage.read_bytes(path).decode().splitlines()[0]) for path in paths]


def test_after_a_kill_the_next_run_builds_what_is_not_in_the_bucket_as_it_was_written(
    corpus, digests, cloud, folder, capsys
):
    out, more = f"{folder}/out", ("--shards", "6")
    process = start([*arguments(str(corpus), out, "small", False, *more), "--workers", "2"])
    deadline = time.monotonic() + 120
    while sum("/results/" in name for name in cloud.names(f"{out.removeprefix(f'gs://{BUCKET}/')}/plan")) < 5:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = results_of(out)
    damaged, lost, *sound = [result for result in kept if any(file.kind == "mel" for file in result.files)]
    first, second = (next(f"{out}/{file.path}" for file in one.files if file.kind == "mel") for one in (damaged, lost))
    data = bytearray(storage.read_bytes(first))
    data[len(data) // 2] ^= 1
    storage.write_bytes(first, bytes(data))
    storage.remove(second)
    cloud.requests()
    assert ingest(str(corpus), out, "small", False, *more) == 0
    sent = [one["path"] for one in cloud.requests("POST")]
    assert not [file.path for one in sound for file in one.files if any(file.name in path for path in sent)]
    manifest = manifests.load(out)
    shards = {file.name for file in manifest.files()}
    assert f"{len(kept) - 2} of {len(shards)} shards were built before" in capsys.readouterr().err
    assert digest_of(out) == digests["small"]
    left = {path.removeprefix(f"{out}/") for path, _ in storage.list_files(out)}
    assert left == {file.path for file in manifest.files()} | {"dataset.json"}
