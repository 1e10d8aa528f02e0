"""Learning curves: training and validation in one picture, and a verdict on overfitting by one stated rule."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trainers.models import MODELS
from trainers.report.collect import Comparison, Run
from trainers.report.html import (
    TOP,
    Frame,
    Html,
    axes,
    bullets,
    drawing,
    element,
    line,
    listing,
    paragraph,
    section,
    ticks,
)

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


SIZE = (390.0, 230.0)


def verdict_of(run: Run) -> Verdict | None:
    """The verdict on a run; None where it has no epochs, as classical models have none."""
    return judge(run.history, run.state.best_epoch, unit_of(run)) if run.history else None


def remark(comparison: Comparison) -> str | None:
    """One sentence for the summary."""
    found = {run.path: verdict for run in comparison.runs if (verdict := verdict_of(run))}
    if not found:
        return None
    verdicts = {model.name: found[model.run.path] for model in comparison.models if model.run.path in found}
    late = [name for name, verdict in verdicts.items() if verdict.overfits]
    wide = [name for name, verdict in verdicts.items() if verdict.wide]
    parts = []
    if late:
        parts.append(f"Overfitting set in while {listing(late)} trained; the weights from before that were kept.")
    if wide:
        parts.append(f"Right far more often on training than on validation: {listing(wide)}.")
    return " ".join(parts) or "No learning curve shows overfitting."


def unit_of(run: Run) -> str:
    """What a model learns from, and what its accuracy while training counts: windows, or whole tracks."""
    spec = MODELS.get(run.config.model)
    return "track" if spec and spec.pool == "track" else "window"


def curves(comparison: Comparison) -> Html:
    """The section."""
    runs = [run for run in comparison.runs if run.history]
    without = [name for run in comparison.runs if not run.history for name in run.predictions]
    return section(
        "curves",
        "Learning curves",
        paragraph(
            element("span", class_="key training"),
            "training ",
            element("span", class_="key validation"),
            "validation ",
            element("span", class_="key kept"),
            "the epoch that was kept",
            class_="legend",
        )
        if runs
        else None,
        [_of_run(run) for run in runs],
        paragraph(f"Fitted without epochs, so without curves: {listing(without)}.") if without else None,
        paragraph(RULE, class_="note") if runs else None,
    )


def _of_run(run: Run) -> Html:
    verdict = judge(run.history, run.state.best_epoch, unit_of(run))
    panels = [
        panel(run, "loss", "loss", shares=False),
        panel(run, "accuracy", f"accuracy by {unit_of(run)}", shares=True),
    ]
    badge = element("span", verdict.word, class_="badge bad" if verdict.bad else "badge")
    title = element("h3", f"{run.config.model} ", badge, " ", element("span", run.path, class_="path"))
    return element("div", title, element("div", panels, class_="panels"), bullets(verdict.sentences), class_="curves")


def panel(run: Run, column: str, title: str, *, shares: bool) -> Html:
    """One quantity over the epochs.

    Args:
      run: with a history.
      column: of history.csv; validation's is val_<column>.
      title: of the panel.
      shares: whether it is a share, drawn on a scale from 0 to 100%.
    """
    rows = run.history
    last = rows[-1]["epoch"]
    values = [row[name] for row in rows for name in (column, f"val_{column}") if row[name] is not None]
    top = 1.0 if shares else max(values) * 1.05
    low = 0.0 if shares else min(0.0, *values)
    frame = Frame(*SIZE, (1.0, float(max(2, last))), (low, top))
    training = [(row["epoch"], row[column]) for row in rows]
    validation = [(row["epoch"], row[f"val_{column}"]) for row in rows if row[f"val_{column}"] is not None]
    label = f"{title} of {run.path} over {last} epochs: training ends at {training[-1][1]:.2f}"
    label += f", validation at {validation[-1][1]:.2f}" if validation else ""
    x_ticks = [tick for tick in ticks(1, max(2, last)) if tick == int(tick)]
    drawn = drawing(
        frame,
        label,
        axes(frame, sorted({1, *x_ticks}), ticks(low, top, 4), "epoch", shares=shares),
        _phases(frame, rows),
        _upright(frame, run.state.best_epoch, "kept"),
        line(frame, training, "training"),
        line(frame, validation, "validation") if validation else None,
        [
            element("circle", cx=frame.at_x(x), cy=frame.at_y(y), r=4, class_="dot validation")
            for x, y in validation
            if x == run.state.best_epoch
        ],
    )
    return element("figure", element("figcaption", title), drawn)


def _phases(frame: Frame, rows: list[dict[str, Any]]) -> list[Html]:
    """A line and a name where a new phase begins."""
    found = []
    for before, row in pairwise(rows):
        if row["phase"] != before["phase"]:
            found.append(_upright(frame, row["epoch"] - 0.5, "phase"))
            x = frame.at_x(row["epoch"] - 0.5)
            found.append(
                element("text", f"{row['phase']} →", x=x - 4, y=frame.at_y(frame.y[0]) - 6, class_="end small")
            )
    return found


def _upright(frame: Frame, x: float, class_: str) -> Html:
    at = frame.at_x(x)
    return element("line", x1=at, x2=at, y1=frame.at_y(frame.y[0]), y2=TOP, class_=class_)
