"""How far a run has come: state.json, the one commit point of a run, and history.csv, a row for each finished epoch."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from trainers.models.spec import Phase
from transforms import storage
from transforms.errors import FmaError

STATE, HISTORY, BACKUP = "state.json", "history.csv", "backup"
HISTORY_COLUMNS = ("epoch", "phase", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")


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


def advance(state: RunState, phase: Phase, val_loss: float | None) -> RunState:
    """The state after one more epoch.

    Args:
      state: before it.
      phase: its settings.
      val_loss: of that epoch; None where there is no validation split: the last epoch then counts as the best, and
        the phase ends with its last epoch only.
    """
    epoch, phase_epoch = state.epoch + 1, state.phase_epoch + 1
    state = replace(state, epoch=epoch, phase_epoch=phase_epoch, backup=f"epoch-{epoch:04d}")
    if val_loss is None:
        return replace(state, best_epoch=epoch, phase_done=phase_epoch >= phase.epochs)
    if state.phase_best is None or val_loss < state.phase_best:
        state = replace(state, phase_best=val_loss, wait=0)
    else:
        state = replace(state, wait=state.wait + 1)
    if state.best is None or val_loss < state.best:
        state = replace(state, best=val_loss, best_epoch=epoch)
    return replace(state, phase_done=phase_epoch >= phase.epochs or state.wait >= phase.patience)


def next_phase(state: RunState) -> RunState:
    """The state at the start of the phase that comes after the one that has ended."""
    return replace(state, phase=state.phase + 1, phase_epoch=0, phase_done=False, wait=0, phase_best=None)


def load_state(run: str) -> RunState:
    """Reads state.json; the start where there is none yet.

    Raises:
      FmaError: it is damaged.
    """
    path = storage.join(run, STATE)
    if not storage.exists(path):
        return RunState()
    values = read_json(path)
    if set(values) != {field.name for field in fields(RunState)}:
        raise FmaError(f"{path} is damaged; remove {run} and train again")
    return RunState(**values)


def save_state(run: str, state: RunState) -> None:
    """Commits how far the run has come."""
    write_json(storage.join(run, STATE), asdict(state))


def read_history(run: str) -> list[dict[str, Any]]:
    """The rows of history.csv: epoch as int, phase as text, all else as float, None where there is no value."""
    path = storage.join(run, HISTORY)
    if not storage.exists(path):
        return []
    rows = csv.DictReader(io.StringIO(storage.read_bytes(path).decode()))
    return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(name: str, text: str) -> float | int | str | None:
    if name == "phase":
        return text
    if text == "":
        return None
    return int(text) if name == "epoch" else float(text)


def write_history(run: str, rows: list[dict[str, Any]]) -> None:
    """Replaces history.csv by these rows, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n", restval="", extrasaction="raise")
    writer.writeheader()
    writer.writerows({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    storage.write_bytes(storage.join(run, HISTORY), text.getvalue().encode())


def read_json(path: str) -> dict[str, Any]:
    """A JSON object; FmaError where the file holds anything else."""
    try:
        values = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise FmaError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise FmaError(f"{path} is damaged: it is not a JSON object")
    return values


def write_json(path: str, values: dict[str, Any]) -> None:
    """Writes a JSON object, atomically."""
    storage.write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


@contextmanager
def report_damage(path: str) -> Iterator[None]:
    """Wrap code that takes a file's values apart.

    Raises:
      FmaError: they are not what they should be.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FmaError(f"{path} is damaged: {type(error).__name__} {error}") from error
