"""The checksums of shards that TensorFlow reads, compared in the background while it reads them for the first time.

A TFRecord's own checksums do not tell a shard of one split from one of another, or an old copy from a new one.
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager

from trainers.data.errors import translate_read_errors
from transforms import storage
from transforms.dataset.generation import ShardFile
from transforms.errors import FmaError
from transforms.runtime import cores
from transforms.runtime.invocation import command_line

BLOCK = 1 << 20  # bytes that are hashed at once, without Python's lock


class ShardCheck:
    """A comparison of shards with dataset.json on threads of its own; `stop` must be called.

    Args:
      checked: paths of shards that were compared before, and are left out; those that are as written are added.
    """

    def __init__(self, dataset: str, shards: Sequence[ShardFile], checked: set[str]):
        self._dataset, self._checked, self._stopped = dataset, checked, threading.Event()
        self._pool = ThreadPoolExecutor(max(1, cores() // 4), "checksums")
        left = [shard for shard in shards if shard.path not in checked]
        local = storage.is_local(dataset)
        read = [shard for shard in left if local or not shard.crc32c]
        # A bucket has a checksum of its own of each object, which dataset.json holds since format version 2.
        listed = [shard for shard in left if not local and shard.crc32c]
        self._found = [self._pool.submit(self._compare_listed, listed)]
        self._found += [self._pool.submit(self._compare, shard) for shard in read]

    def wait(self) -> None:
        """Return when all shards are compared; FmaError names one that is not what was written."""
        done, _ = wait_for(self._found, return_when=FIRST_EXCEPTION)
        for found in done:
            found.result()

    def stop(self) -> None:
        """End the threads."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compare(self, shard: ShardFile) -> None:
        hashed = hashlib.sha256()
        path = storage.join(self._dataset, shard.path)
        try:
            with storage.open_read(path) as file:
                while data := file.read(BLOCK):
                    hashed.update(data)
                    if self._stopped.is_set():
                        return
        except FileNotFoundError as error:
            raise FmaError(f"{path} is missing: run {command_line('verify', self._dataset)}") from error
        self._conclude(shard, hashed.hexdigest() == shard.sha256)

    def _compare_listed(self, shards: Sequence[ShardFile]) -> None:
        found = storage.stored_checksums([storage.join(self._dataset, shard.path) for shard in shards])
        for shard, crc32c in zip(shards, found, strict=True):
            self._conclude(shard, crc32c == shard.crc32c)

    def _conclude(self, shard: ShardFile, same: bool) -> None:
        if not same:
            path = storage.join(self._dataset, shard.path)
            raise FmaError(
                f"{path} is not the file that was written (checksum): run {command_line('verify', self._dataset)}"
            )
        self._checked.add(shard.path)


@contextmanager
def check_shards(dataset: str, shards: Sequence[ShardFile], checked: set[str]) -> Iterator[ShardCheck]:
    """Compare shards with dataset.json while the block reads them with TensorFlow, and wait for that at its end.

    TensorFlow's errors about them become FmaErrors (`translate_read_errors`).

    Raises:
      FmaError: a shard is not what was written. Before that, no result of the block may be kept: see `ShardCheck.wait`.
    """
    import tensorflow as tf

    check = ShardCheck(dataset, shards, checked)
    try:
        with translate_read_errors(dataset):
            yield check
        check.wait()
    except tf.errors.InvalidArgumentError:
        check.wait()  # records of another kind or another dataset cannot be parsed
        raise
    finally:
        check.stop()
