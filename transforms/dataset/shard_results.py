"""Results of shards, each kept in a file once the shard's files have their names: a job that dies leaves them behind.

A result is found by its key, which stands for all that it depends on: another plan finds none of its own.
"""

import hashlib
import posixpath
from collections.abc import Iterable, Sequence
from functools import partial

import google_crc32c

from transforms import storage
from transforms.dataset.generation import ShardFile, ShardResult
from transforms.dataset.leftovers import PLAN, RESULTS, result_path
from transforms.dataset.shard_map import ALL_CORES, ShardTask

BLOCK = 1 << 20  # bytes that are read at a time


def keep_result(dataset: str, name: str, key: str, result: ShardResult) -> None:
    """Write a shard's result, with its checksum, beside the plan of the job of that name."""
    line = result.to_line()
    storage.write_bytes(storage.join(dataset, result_path(name, key)), f"{line}\n{_digest(line)}\n".encode())


def read_results(dataset: str, name: str, keys: Iterable[str]) -> dict[str, ShardResult]:
    """Return the results that a job has kept under some keys, in their order; several are read at a time.

    A file of a result that is damaged counts as none.
    """
    paths = {storage.join(dataset, result_path(name, key)): key for key in keys}
    there = {path for path, _ in storage.list_files(storage.join(dataset, PLAN, name, RESULTS))}
    found = [path for path in paths if path in there]
    lines = map(_checked_line, storage.read_ahead(storage.read_bytes, found))
    return {paths[path]: ShardResult.from_line(line) for path, line in zip(found, lines, strict=True) if line}


def find_built(dataset: str, name: str, keys: Iterable[str]) -> dict[str, ShardResult]:
    """Return the results of the shards that were built before, and whose files are what was written.

    Files on a disk are read, to compare their checksums; of those in a bucket it knows them.
    """
    results = {key: result for key, result in read_results(dataset, name, keys).items() if not result.error}
    files = [file for result in results.values() for file in result.files]
    found = _checksums(dataset, files) if files else {}
    damaged = {file.path for file in files if found[file.path] != file.crc32c}
    return {key: result for key, result in results.items() if damaged.isdisjoint(file.path for file in result.files)}


def forget_failures(dataset: str, name: str, most: int) -> None:
    """Remove the results of shards with failed tracks where more than `most` tracks failed in all of them.

    With so many failures the run would be refused. Its audio files may have been replaced since, so the shards are
    built again.
    """
    there = storage.list_files(storage.join(dataset, PLAN, name, RESULTS))
    found = read_results(dataset, name, [posixpath.basename(path).removesuffix(".json") for path, _ in there])
    failed = {key: sum(result.failures.values()) for key, result in found.items() if result.failures}
    if sum(failed.values()) > most:
        storage.remove_listed(dataset, [result_path(name, key) for key in failed])


def _checksums(dataset: str, files: Sequence[ShardFile]) -> dict[str, str]:
    """Return the crc32c of each file by its path, "" where there is none."""
    if not storage.is_local(dataset):
        stored = storage.stored_checksums([storage.join(dataset, file.path) for file in files])
        return {file.path: crc32c for file, crc32c in zip(files, stored, strict=True)}
    tasks = [ShardTask.of_file(file) for file in files]
    found = ALL_CORES.run("check what was built before", partial(read_checksum, dataset), tasks)
    return {result.name: result.found for result in found}


def read_checksum(dataset: str, line: str) -> ShardResult:
    """Read a file on a disk; what is found is its crc32c, "" where there is none."""
    file, value = ShardFile.from_line(line), 0
    try:
        with storage.open_read(storage.join(dataset, file.path)) as opened:
            while data := opened.read(BLOCK):
                value = google_crc32c.extend(value, data)
    except FileNotFoundError:
        return ShardResult(file.path)
    return ShardResult(file.path, found=f"{value:08x}")


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


def _checked_line(data: bytes) -> str:
    """Return the line of a result's file, "" where it is not what was written."""
    line, _, digest = data.decode(errors="replace").partition("\n")
    return line if digest == f"{_digest(line)}\n" else ""
