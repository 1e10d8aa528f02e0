"""The run directory: what a training run was asked for, how far it has come, and what it made.

| file | what |
|---|---|
| config.json | model, options, seed, dataset (path, digest, config), labels, phases, versions; written once, at the start |
| state.json | how far training has come; replaced after every epoch and the one commit point of the run |
| history.csv | a row for each finished epoch |
| backup/ | what the next epoch starts from: weights, optimizer and random state |
| model.keras | the model with the weights of the best epoch |
| transform_fn/ | the graph of the full-pass statistics that it was trained with |
| logs/ | for TensorBoard |
| metrics.json | metrics of each split of the run's own dataset; `evaluations/` holds those of other datasets |
"""

import csv
import fcntl
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from transforms import storage
from transforms.errors import FmaError, UsageError

FORMAT_VERSION = 1
CONFIG, STATE, HISTORY, MODEL, METRICS = "config.json", "state.json", "history.csv", "model.keras", "metrics.json"
BACKUP, EVALUATIONS = "backup", "evaluations"
OURS = {STATE, HISTORY, MODEL, METRICS, BACKUP, EVALUATIONS, "transform_fn", "logs", ".lock"}
HISTORY_COLUMNS = ("epoch", "phase", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run was asked for; equal configs give the same run.

    Attributes:
      model: name of the model.
      options: every option that has a say in the result, by name.
      seed: of the weights, the order of the records, the augmentation and the dropout.
      dataset: `path` as given, `digest`, and `config` as in dataset.json.
      labels: genre names in the order of the model's outputs.
      phases: settings of each phase of training, in order.
      versions: of Python and of the libraries; not compared.
    """

    model: str
    options: dict[str, Any]
    seed: int
    dataset: dict[str, Any]
    labels: list[str]
    phases: list[dict[str, Any]]
    versions: dict[str, str]


@dataclass(slots=True)
class RunState:
    """How far a run has come.

    Attributes:
      epoch: epochs that are finished, over all phases.
      phase: index of the phase that goes on.
      phase_epoch: epochs of that phase that are finished.
      phase_done: whether that phase has ended, so that the next one comes.
      wait: epochs since the validation loss last went down, in that phase.
      phase_best: lowest validation loss of that phase.
      best: lowest validation loss of all.
      best_epoch: the epoch that model.keras is from, counted from 1; 0 before the first one ends.
      backup: folder below `backup/` that the next epoch starts from, or "" at the start.
      finished: why training ended, or "" while it goes on.
    """

    epoch: int = 0
    phase: int = 0
    phase_epoch: int = 0
    phase_done: bool = False
    wait: int = 0
    phase_best: float | None = None
    best: float | None = None
    best_epoch: int = 0
    backup: str = ""
    finished: str = ""


def open_run(run: str, config: RunConfig) -> RunState | None:
    """How far a run of that config has come in the folder, or None where it is to be created.

    Raises:
      UsageError: the folder holds something else, a run of another config, or a run on a dataset that has changed.
    """
    if not storage.exists(storage.join(run, CONFIG)):
        _refuse_foreign(run)
        return None
    different = differences(load_config(run), config)
    if different:
        raise UsageError(
            f"{run} holds a run with other settings: {'; '.join(different)}. "
            "Give the same settings to carry on with it, or another --run"
        )
    return load_state(run)


def _refuse_foreign(run: str) -> None:
    if not storage.exists(run):
        return
    if not storage.is_dir(run):
        raise UsageError(f"--run {run} is a file; give a folder")
    prefix = storage.join(run, "")
    found = {path.removeprefix(prefix).partition("/")[0] for path, _ in storage.list_files(run)}
    foreign = sorted(found - OURS)
    if foreign:
        raise UsageError(f"--run {run} is not empty and holds no run (it holds {', '.join(foreign[:3])}); give another")


def create_run(run: str, config: RunConfig) -> RunState:
    """Begins a run: writes its config.json, after whatever else a run starts with."""
    _write_json(storage.join(run, CONFIG), {"format_version": FORMAT_VERSION} | asdict(config))
    return RunState()


def differences(have: RunConfig, want: RunConfig) -> list[str]:
    """The settings that differ, each with both values; where the dataset lies and the versions do not count."""
    if have.model != want.model:
        return [f"model is {have.model}, not {want.model}"]  # options of two models have little in common
    found = [f"seed is {have.seed}, not {want.seed}"] if have.seed != want.seed else []
    for name in sorted({*have.options, *want.options}):
        one, other = have.options.get(name), want.options.get(name)
        if one != other:
            found.append(f"{name.replace('_', '-')} is {_text(one)}, not {_text(other)}")
    if have.dataset["digest"] != want.dataset["digest"]:
        found.append(
            f"the dataset is not the one that the run began with (digest {have.dataset['digest'][:12]}, "
            f"now {want.dataset['digest'][:12]})"
        )
    elif have.labels != want.labels:
        found.append(f"labels are {', '.join(have.labels)}, not {', '.join(want.labels)}")
    if not found and have.phases != want.phases:
        found.append(f"phases are {json.dumps(have.phases)}, not {json.dumps(want.phases)}")
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unset" if value is None else str(value)


def load_config(run: str) -> RunConfig:
    """Reads config.json.

    Raises:
      UsageError: there is no run.
      FmaError: its config.json is damaged or from a newer version.
    """
    path = storage.join(run, CONFIG)
    if not storage.exists(path):
        raise UsageError(f"{run} is not a run: it has no {CONFIG} (make one with fma train)")
    values = _read_json(path)
    version = values.pop("format_version", None)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FmaError(f"{path} has format version {version}, this program reads {FORMAT_VERSION}: update fma-genres")
    missing = {field.name for field in fields(RunConfig)} ^ set(values)
    if missing:
        raise FmaError(f"{path} is damaged: {', '.join(sorted(missing))}")
    return RunConfig(**values)


def load_state(run: str) -> RunState:
    """Reads state.json; the start where there is none yet."""
    path = storage.join(run, STATE)
    if not storage.exists(path):
        return RunState()
    values = _read_json(path)
    if set(values) != {field.name for field in fields(RunState)}:
        raise FmaError(f"{path} is damaged; remove {run} and train again")
    return RunState(**values)


def save_state(run: str, state: RunState) -> None:
    """Commits how far the run has come."""
    _write_json(storage.join(run, STATE), asdict(state))


def read_history(run: str) -> list[dict[str, Any]]:
    """The rows of history.csv; numbers as float, epoch and phase as int, None where there is no value."""
    path = storage.join(run, HISTORY)
    if not storage.exists(path):
        return []
    rows = csv.DictReader(io.StringIO(storage.read_bytes(path).decode()))
    return [{name: _number(name, value) for name, value in row.items()} for row in rows]


def _number(name: str, value: str) -> float | int | None:
    if value == "":
        return None
    return int(value) if name in ("epoch", "phase") else float(value)


def write_history(run: str, rows: list[dict[str, Any]]) -> None:
    """Replaces history.csv by these rows, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n", restval="", extrasaction="raise")
    writer.writeheader()
    writer.writerows({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    storage.write_bytes(storage.join(run, HISTORY), text.getvalue().encode())


def read_metrics(run: str) -> dict[str, Any]:
    """metrics.json: metrics by split of the run's own dataset; {} before there are any."""
    path = storage.join(run, METRICS)
    return _read_json(path) if storage.exists(path) else {}


def write_metrics(run: str, metrics: dict[str, Any]) -> None:
    """Replaces metrics.json."""
    _write_json(storage.join(run, METRICS), metrics)


def write_evaluation(run: str, digest: str, split: str, metrics: dict[str, Any]) -> str:
    """Writes metrics on another dataset below `evaluations/`; returns the path."""
    path = storage.join(run, EVALUATIONS, f"{digest[:12]}-{split}.json")
    _write_json(path, metrics)
    return path


def _read_json(path: str) -> dict[str, Any]:
    try:
        values = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise FmaError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise FmaError(f"{path} is damaged: it is not a JSON object")
    return values


def _write_json(path: str, values: dict[str, Any]) -> None:
    storage.write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


@contextmanager
def locked(run: str) -> Iterator[None]:
    """Keeps a second trainer of this machine away; the lock goes with its process, however that ends.

    Raises:
      FmaError: another process trains in this folder.
    """
    storage.make_folder(run)
    with open(storage.join(run, ".lock"), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FmaError(f"another fma train is writing to {run}; wait for it or give another --run") from error
        yield
