"""Whether a run learned its training tracks by heart: one stated rule, applied to its history."""

from dataclasses import dataclass
from typing import Any

RISE, GAP, FEWEST = 0.05, 0.15, 3
RULE = (
    f"The rule: overfitting has set in where validation loss ends more than {RISE:.0%} above its lowest value while "
    f"training loss, within the last phase, went on falling; the kept model fits its training tracks better than new "
    f"ones where its training accuracy is more than {100 * GAP:.0f} points above its validation accuracy. "
    "Training is measured while it goes on, with its augmentation and dropout, so the real gap can be larger than the "
    "drawn one."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rule says.

    Attributes:
      overfits: whether validation loss rose while training loss fell.
      gap: training minus validation accuracy of the kept model, or None where there is none.
      sentences: plain ones, at least one.
    """

    overfits: bool
    gap: float | None
    sentences: list[str]

    @property
    def word(self) -> str:
        """The verdict in short."""
        if self.overfits:
            return "overfits"
        if self.gap is None:
            return "cannot be told"
        return "large gap" if self.bad else "no overfitting"

    @property
    def wide(self) -> bool:
        """Whether the kept model is much better on its training tracks."""
        return (self.gap or 0) > GAP

    @property
    def bad(self) -> bool:
        """Whether one should worry."""
        return self.overfits or self.wide


def judge(history: list[dict[str, Any]], best_epoch: int, unit: str = "window") -> Verdict:
    """Applies the rule.

    Args:
      history: rows of history.csv, at least one.
      best_epoch: the epoch that the kept model is from, counted from 1.
      unit: what its accuracies count, window or track.
    """
    if history[-1]["val_loss"] is None:
        return Verdict(False, None, ["There was no validation split, so this cannot be told."])
    kept = next(row for row in history if row["epoch"] == best_epoch)
    gap = kept["accuracy"] - kept["val_accuracy"]
    overfits = _overfits(history, kept)
    if len(history) < FEWEST:
        return Verdict(False, gap, [f"Only {len(history)} epochs: too few to tell.", _gap_sentence(kept, gap, unit)])
    return Verdict(overfits, gap, [_loss_sentence(history, kept, overfits), _gap_sentence(kept, gap, unit)])


def _overfits(history: list[dict[str, Any]], kept: dict[str, Any]) -> bool:
    last = history[-1]
    after = [row for row in history if row["epoch"] >= kept["epoch"] and row["phase"] == last["phase"]]
    return last["val_loss"] > (1 + RISE) * kept["val_loss"] and last["loss"] < after[0]["loss"]


def _loss_sentence(history: list[dict[str, Any]], kept: dict[str, Any], overfits: bool) -> str:
    last = history[-1]
    if overfits:
        rise = last["val_loss"] / kept["val_loss"] - 1
        return (
            f"Overfitting set in after epoch {kept['epoch']}: validation loss rose by {rise:.0%} while training loss "
            f"fell to {last['loss']:.2f}. The model of epoch {kept['epoch']} was kept, from before that."
        )
    if last["val_loss"] > (1 + RISE) * kept["val_loss"]:
        return (
            f"Validation loss ended above its lowest value, that of epoch {kept['epoch']}, but training loss did not "
            "fall meanwhile: unsteady training rather than overfitting."
        )
    if kept["epoch"] == last["epoch"]:
        return "Validation loss was lowest in the last epoch, so more epochs may help."
    return f"Validation loss stayed near its lowest value, that of epoch {kept['epoch']}."


def _gap_sentence(kept: dict[str, Any], gap: float, unit: str) -> str:
    text = f"At epoch {kept['epoch']} it is right on {kept['accuracy']:.0%} of training and {kept['val_accuracy']:.0%} "
    text += f"of validation {unit}s: "
    if gap > GAP:
        return text + f"a gap of {100 * gap:.0f} points. More data or stronger regularisation should help."
    if gap < 0:
        return text + "no gap (augmentation makes training the harder of the two)."
    return text + f"a gap of {100 * gap:.0f} points."
