"""Files that a dataset does not need any more: lists say which they are, never what happens to lie in its folders.

A command that writes first lists, in `plan/NAME/files.json`, the files that it is going to write and those that it is
going to replace. What is in a list and not in dataset.json is a leftover: of a command that was killed, or of the
dataset before an update, which a reader may still have open. All else stays: it is not this program's. Beside a list
lie the job's own files, which have names of a fixed form: its plan, and a result for each shard that is built.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence

from transforms import storage
from transforms.audio.features import KINDS
from transforms.dataset.generation import LEDGERS
from transforms.dataset.manifest import TRANSFORM_FN, Manifest
from transforms.dataset.plan import GENERATION_NAME, ShardPlan
from transforms.encoders.facts import KIND as EMBEDDING
from transforms.errors import FmaError
from transforms.runtime import console

PLAN = "plan"
"""The folder of the files that a job needs while it runs, a folder for each."""

LIST, SHARDS, RESULTS, ERRORS = "files.json", "plan.jsonl", "results", "errors.txt"

ELSEWHERE = "elsewhere"
"""A file beside a generation's plan: its job runs on a cluster, where it outlives the command that started it."""

_FOLDERS = "|".join((*KINDS, EMBEDDING, *LEDGERS, TRANSFORM_FN, PLAN))
_FILE = rf"(?:{_FOLDERS})(?:/(?!\.\.?(?:/|$))[\w.-]+)+"
_SCRATCH = rf"{PLAN}/{GENERATION_NAME.pattern}/scratch-[0-9a-f]{{16}}/"
_LISTED = re.compile(f"{_FILE}|{_SCRATCH}", re.ASCII)
"""The form of a path in a list: inside the dataset."""

JOB_FILES = (SHARDS, "results.jsonl", ERRORS, ELSEWHERE, *(f"{kind}.jsonl" for kind in KINDS))
"""Files beside a list; earlier versions had all results in one."""
_RESULT = re.compile(rf"{PLAN}/({GENERATION_NAME.pattern})/{RESULTS}/[0-9a-f]{{32}}\.json", re.ASCII)
"""The form of `result_path`."""


def jobs_elsewhere(dataset: str) -> frozenset[str]:
    """Return the generations whose job may still be running on a cluster, or waits to be resumed."""
    return frozenset(name for name in _plans(dataset) if storage.exists(_path(dataset, name, ELSEWHERE)))


def result_path(name: str, key: str) -> str:
    """Return the path, relative to the dataset, of a shard's result in a job of that name; a key has 32 hex digits."""
    return f"{PLAN}/{name}/{RESULTS}/{key}.json"


def planned_files(generation: str, shards: Iterable[ShardPlan], kinds: Iterable[str]) -> list[str]:
    """Return the paths, relative to the dataset, of all files that the shards of a plan may become."""
    endings = dict.fromkeys(kinds, "tfrecord") | dict.fromkeys(LEDGERS, "jsonl")
    return [f"{kind}/{generation}/{shard.name}.{ending}" for shard in shards for kind, ending in endings.items()]


def scratch_folder(name: str) -> str:
    """Return the path, relative to the dataset, of a new folder for what a library writes while a job runs."""
    return f"{PLAN}/{name}/scratch-{os.urandom(8).hex()}"


def is_scratch(path: str) -> bool:
    """Return whether a path is one of `scratch_folder`."""
    return re.fullmatch(_SCRATCH, f"{path}/") is not None


def announce(dataset: str, name: str, new: Iterable[str], replaced: Iterable[str] = ()) -> None:
    """Add to a list what is about to be written, for a generation or for statistics of that name.

    Args:
      new: paths, relative to the dataset; one that ends in a slash is a new folder for what a library writes.
      replaced: paths of files that the dataset may not need after the commit.

    Raises:
      FmaError: a folder to write to is a link: the files would lie elsewhere.
    """
    listed = _listed(dataset, name)
    files = {"new": sorted({*listed["new"], *new}), "replaced": sorted({*listed["replaced"], *replaced})}
    for folder in {path.rpartition("/")[0] for path in files["new"]} | {f"{PLAN}/{name}", f"{PLAN}/{name}/{RESULTS}"}:
        if storage.is_link(storage.join(dataset, folder)):
            raise FmaError(f"{storage.join(dataset, folder)} is a link: remove it, or move its files here")
    _write(dataset, name, files)


def remove_job_files(dataset: str, name: str) -> int:
    """Remove a job's plan and results; return how many files."""
    prefix = storage.join(dataset, "")
    below = storage.list_files(storage.join(dataset, PLAN, name, RESULTS))
    results = {storage.unstaged(path.removeprefix(prefix)) for path, _ in below}
    own = [path for path in results if _RESULT.fullmatch(path)]
    return storage.remove_listed(dataset, [*own, *(f"{PLAN}/{name}/{file}" for file in JOB_FILES)])


def settle(dataset: str, name: str, manifest: Manifest) -> None:
    """Shorten a list, after the commit, to the files that were replaced; it goes where there are none.

    What a job has written beyond what was committed goes, too: its plan and results, and what killed workers left.
    """
    files = _listed(dataset, name)
    _remove_unneeded(dataset, files["new"], manifest)
    remove_job_files(dataset, name)
    if files["replaced"]:
        _write(dataset, name, {"new": [], "replaced": files["replaced"]})
    else:
        storage.remove_listed(dataset, [f"{PLAN}/{name}/{LIST}"])


def remove_leftovers(dataset: str, manifest: Manifest, keep: frozenset[str] = frozenset()) -> int:
    """Remove the listed files that the manifest does not name, and their lists; return how many files.

    Links stay, and what lies behind them. So do the files of the generations in `keep`.
    """
    return sum(remove_list(dataset, name, manifest) for name in _plans(dataset) if name not in keep)


def remove_list(dataset: str, name: str, manifest: Manifest) -> int:
    """Remove the leftovers of one list and the list itself; see `remove_leftovers`."""
    listed = [path for paths in _listed(dataset, name).values() for path in paths]
    removed = _remove_unneeded(dataset, listed, manifest) + remove_job_files(dataset, name)
    return removed + storage.remove_listed(dataset, [f"{PLAN}/{name}/{LIST}"])  # last, in case of a kill


def find_foreign(dataset: str) -> str | None:
    """Return a file in the folder of a dataset to be, relative to it, that no list names; None where there is none.

    Hidden files at its top do not count.
    """
    prefix = storage.join(dataset, "")
    listed = {path for name in _plans(dataset) for paths in _listed(dataset, name).values() for path in paths}
    listed |= {f"{PLAN}/{name}/{file}" for name in _plans(dataset) for file in (*JOB_FILES, LIST)}
    scratch = tuple(path for path in listed if path.endswith("/"))
    for path, _ in storage.list_files(dataset):
        name = path.removeprefix(prefix)
        own = storage.unstaged(name) in listed or _RESULT.fullmatch(storage.unstaged(name))
        if not own and not name.startswith((".", *scratch)):
            return name
    return None


def _plans(dataset: str) -> list[str]:
    return [name for name in storage.list_folders(storage.join(dataset, PLAN)) if GENERATION_NAME.fullmatch(name)]


def _path(dataset: str, name: str, file: str) -> str:
    return storage.join(dataset, PLAN, name, file)


def _write(dataset: str, name: str, files: dict[str, list[str]]) -> None:
    storage.write_bytes(_path(dataset, name, LIST), (json.dumps(files, indent=1) + "\n").encode())


def _listed(dataset: str, name: str) -> dict[str, list[str]]:
    """Return the paths of a list; those that follow from its plan where version 0.1.0 has left one without a list."""
    path = _path(dataset, name, LIST)
    try:
        files = json.loads(storage.read_bytes(path))
    except FileNotFoundError:
        return {"new": _of_plan(dataset, name), "replaced": []}
    except ValueError as error:
        raise FmaError(f"{path} is damaged ({error}): remove it") from error
    sound = isinstance(files, dict) and files.keys() == {"new", "replaced"}
    if not sound or not all(isinstance(one, list) and all(map(_is_listable, one)) for one in files.values()):
        raise FmaError(f"{path} is damaged (it names what is no file of a dataset): remove it")
    return files


def _is_listable(path: object) -> bool:
    return isinstance(path, str) and _LISTED.fullmatch(path) is not None


def _of_plan(dataset: str, name: str) -> list[str]:
    path = _path(dataset, name, SHARDS)
    try:
        lines = storage.read_bytes(path).decode().splitlines()
        return planned_files(name, [ShardPlan.from_line(line) for line in lines], KINDS)
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise FmaError(f"{path} is damaged ({error}): remove it") from error


def _remove_unneeded(dataset: str, listed: Sequence[str], manifest: Manifest) -> int:
    """Remove the listed files that the manifest does not name, and what is staged for any; return how many."""
    kept = {file.path for file in manifest.files()}
    statistics = f"{manifest.transform_fn.path}/" if manifest.transform_fn else "/"
    needed = {path for path in listed if path in kept or path.startswith(statistics)}
    found = [path for path in listed if path not in needed]
    for kind in sorted({path.partition("/")[0] for path in found}):
        if storage.is_link(storage.join(dataset, kind)):
            console.log(f"note: {storage.join(dataset, kind)} is a link: files there that are not needed any more stay")
    for path in found:
        if path.endswith("/"):
            storage.remove_scratch(dataset, path.rstrip("/"))
    removed = storage.remove_listed(dataset, [path for path in found if not path.endswith("/")])
    return removed + storage.remove_listed(dataset, needed, staged_only=True)
