"""How far a run has come: state.json, its only commit point, and history.csv; and what more epochs make of it."""

import csv
import io
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trainers.models.spec import Phase
from trainers.runs.files import RESTORE, read_json, report_damage, write_json
from transforms import storage
from transforms.errors import FmaError, UsageError

STATE, HISTORY, MODEL, BACKUP = "state.json", "history.csv", "model.keras", "backup"
ARRAYS, BEST = BACKUP_FILES = "state.npz", "best.keras"
"""Files of a folder below `backup/`: what the next epoch starts from, and the model where it is the best so far."""

OLDER_LACK = {"history", "phases"}  # fields that the state.json of older runs lacks
PHASE_DEFAULTS: dict[str, Any] = {"class_weights": "balanced", "degrade": False}
"""Settings of phases that the config.json of older runs lacks."""
SCORES = ACCURACY, AVERAGE_PRECISION = "accuracy", "average_precision"
"""What is measured of each epoch beside the loss: of one label for each track, and of many genres (mean over them)."""


@dataclass(slots=True)
class RunState:
    """How far a run has come."""

    epoch: int = 0  # finished epochs, over all phases
    phase: int = 0  # index of the current phase
    phase_epoch: int = 0  # finished epochs of that phase
    phase_done: bool = False  # whether that phase has ended, so that the next one starts
    wait: int = 0  # epochs since the validation loss last went down, in that phase
    phase_best: float | None = None  # lowest validation loss of that phase
    best: float | None = None  # lowest validation loss of all
    best_epoch: int = (
        0  # the epoch that is kept, in model.keras, counted from 1: the best or last one; 0 before any ends
    )
    backup: str = ""  # folder below `backup/` that the next epoch starts from, or "" at the start
    finished: str = ""  # why training ended, or "" while it goes on
    history: list[dict[str, Any]] = field(default_factory=list)  # the row of history.csv of each finished epoch
    # the settings of each phase, where the run got more epochs than config.json says; [] where it did not
    phases: list[dict[str, Any]] = field(default_factory=list)


def load_state(run: str) -> RunState:
    """Read state.json; the state at the start where there is none yet.

    Raises:
      FmaError: it is damaged, or missing although an epoch has ended.
    """
    path = storage.join(run, STATE)
    if not storage.exists(path) and not storage.exists(storage.join(run, MODEL)):
        return RunState()
    values = read_json(run, STATE)
    names = {field.name for field in fields(RunState)}
    if not names - OLDER_LACK <= set(values) <= names:
        raise FmaError(f"{path} is damaged: {RESTORE}")
    state = RunState(**values)
    if "history" not in values:  # written by version 0.1.0
        with report_damage(path):
            state.history = _read_history(run, state.epoch)
    return state


def save_state(run: str, state: RunState) -> None:
    """Commit how far the run has come."""
    write_json(run, STATE, asdict(state))


def advance(state: RunState, phase: Phase, val_loss: float | None) -> RunState:
    """Return the state after one more epoch of a phase.

    Args:
      val_loss: of that epoch; None where validation is not to choose: the last epoch then counts as the best, and the
        phase ends with its last epoch only.
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
    """Return the state at the start of the phase after the one that has ended."""
    return replace(state, phase=state.phase + 1, phase_epoch=0, phase_done=False, wait=0, phase_best=None)


def adds_epochs(state: RunState, have: list[dict[str, Any]], want: list[dict[str, Any]]) -> bool:
    """Return whether a run's phases differ from those that are wanted only by epochs that it can still get.

    These are more epochs for the phase that it has come to and for later ones, and phases after its last one.
    """
    before, now = ([PHASE_DEFAULTS | phase for phase in phases] for phases in (have, want))
    for number, (one, other) in enumerate(zip(before, now, strict=False)):
        if one | {"epochs": other.get("epochs")} != other or other["epochs"] < one["epochs"]:
            return False
        if other["epochs"] > one["epochs"] and number < state.phase:
            return False
    return len(before) <= len(now) and before != now


def add_epochs(run: str, state: RunState, have: list[dict[str, Any]], want: list[dict[str, Any]]) -> RunState:
    """Return the state of a run that goes on, with the wanted phases; it counts once an epoch of them is committed.

    Raises:
      UsageError: what its last epoch ended with is gone.
    """
    more = want[state.phase]["epochs"] > have[state.phase]["epochs"]
    path = storage.join(run, BACKUP, state.backup, ARRAYS)
    if more and state.phase_epoch and not storage.exists(path):
        raise UsageError(
            f"{run} cannot have more epochs: {path}, which they would start from, is missing (earlier versions did not "
            "keep it). Give another --run"
        )
    if more:  # patience is counted anew, since the learning rate is higher again
        state = replace(state, phase_done=False, wait=0)
    return replace(state, phases=want, finished="")


def describe_start(run: str, state: RunState) -> str:
    """Say where training carries on from, and what more epochs change."""
    line, stored = f"carrying on after epoch {state.epoch}", load_state(run)
    if state.phases == stored.phases:
        return line
    line += f", where it had ended ({stored.finished})" if stored.finished else ""
    if state.phase_done:
        return f"{line}, with phase {state.phases[state.phase + 1]['name']}"
    phase = state.phases[state.phase]
    line += f"; the learning rate is now that of {phase['epochs']} epochs"
    patience = f", and {phase['patience']} without a lower validation loss end them"
    return line + (patience if state.best is not None else "")


def history_columns(score: str) -> tuple[str, ...]:
    """Return the columns of history.csv, for one of `SCORES`."""
    return ("epoch", "phase", "learning_rate", "loss", score, "val_loss", f"val_{score}")


def history_row(values: dict[str, Any], score: str = ACCURACY) -> dict[str, Any]:
    """Return an epoch's values as a row of history.csv has them: of every column, numbers with seven digits."""
    found = {name: values.get(name) for name in history_columns(score)}
    return {name: float(f"{value:.7g}") if isinstance(value, float) else value for name, value in found.items()}


def write_history(run: str, rows: list[dict[str, Any]], score: str = ACCURACY) -> None:
    """Replace history.csv by these rows, atomically; state.json has them, too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, history_columns(score), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    storage.write_bytes(storage.join(run, HISTORY), text.getvalue().encode())


def _read_history(run: str, epochs: int) -> list[dict[str, Any]]:
    """Read history.csv of a run of version 0.1.0, whose state.json has no rows.

    Raises:
      FmaError: it is missing or damaged.
    """
    path = storage.join(run, HISTORY)
    try:
        text = io.StringIO(storage.read_bytes(path).decode())
        with report_damage(path):
            rows = [_parse_row(row) for row in csv.DictReader(text, strict=True)][:epochs]
            if [row["epoch"] for row in rows] != list(range(1, epochs + 1)):
                raise ValueError(f"it does not have the {epochs} epochs of state.json")
    except (FileNotFoundError, csv.Error) as error:
        raise FmaError(f"{path} is missing or damaged ({error}): {RESTORE}") from error
    return rows


def _parse_row(row: dict[str, str]) -> dict[str, Any]:
    kinds: dict[str, type] = {"phase": str, "epoch": int}
    return {name: kinds.get(name, float)(row[name]) if row[name] else None for name in history_columns(ACCURACY)}
