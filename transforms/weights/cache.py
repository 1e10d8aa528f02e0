"""The folder that weights are kept in: ~/.cache/fma-genres/weights, or $FMA_WEIGHTS_DIR."""

import os

from transforms import storage
from transforms.catalog.download import free_space
from transforms.catalog.fetch import Retry, fetch, hash_of, open_part
from transforms.errors import FmaError, UsageError
from transforms.runtime.console import human_bytes, log
from transforms.runtime.invocation import command_line
from transforms.runtime.os_errors import annotate_os_errors
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
    url = f"{mirror.rstrip('/')}/{weights.file}" if mirror else weights.url
    log(f"fetching {weights.name} ({human_bytes(weights.size)}, licence {weights.license}) from {url}")
    folder = storage.parent(path)
    storage.make_folder(folder)
    with annotate_os_errors(f"{path}.part"), open_part(f"{path}.part", "sha256") as part:
        try:
            if part.size != weights.size:
                fetch(url, part, size=weights.size, free=lambda: free_space(folder), retry=retry)
        except FmaError as error:
            by_hand = command_line("weights", weights.name, "--from", "FILE")
            raise FmaError(f"{error}. Or download it elsewhere, and: {by_hand}") from error
        if problem := _compare(weights, part.size, part.digest()):
            part.remove()
            raise FmaError(f"{url} {problem}; what had come is removed")
        part.keep_as(path)
    return path


def take_weights(weights: Weights, source: str) -> str:
    """Copy a file that is here already into the folder; return its path there.

    Raises:
      UsageError: there is no such file, or it is another one.
    """
    if not storage.exists(source) or storage.is_dir(source):
        raise UsageError(f"--from {source}: there is no such file")
    size, digest = storage.size(source), hash_of(source, "sha256")
    if problem := _compare(weights, size, digest):
        raise UsageError(f"--from {source} {problem}")
    path = cached(weights)
    storage.write_bytes(path, storage.read_bytes(source))
    return path


def _compare(weights: Weights, size: int, digest: str) -> str:
    """Return what is wrong with a file of this size and SHA-256, or ""."""
    if size == weights.size and weights.sha256 in ("", digest):
        return ""
    published = f"{weights.size:,} bytes, SHA-256 {weights.sha256 or 'unknown'}"
    return f"is not {weights.file} as it was published ({published}) but {size:,} bytes, SHA-256 {digest}"
