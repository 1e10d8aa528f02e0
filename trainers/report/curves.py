"""Learning curves: training and validation in one picture, and a verdict on overfitting by a stated rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trainers.models import MODELS
from trainers.report.collect import ModelOfRun, Run
from trainers.report.html import (
    TOP,
    Frame,
    Html,
    axes,
    bullets,
    drawing,
    element,
    fragment,
    legend,
    line,
    listing,
    paragraph,
    section,
    ticks,
)
from trainers.runs.state import ACCURACY, SCORES

RISE, GAP, FEWEST = 0.05, 0.15, 3
PANEL = (390.0, 230.0)
RULE = (
    f"The rule: overfitting has set in where validation loss ends more than {RISE:.0%} above its lowest value while "
    f"training loss, within the last phase, went on falling; the kept model fits its training tracks better than new "
    f"ones where its training accuracy is more than {100 * GAP:.0f} points above its validation accuracy. "
    "Training is measured while it runs, with augmentation and dropout, so the real gap can be larger than it looks."
)
MANY = (
    " With many genres, average precision stands for accuracy, and training loss weighs rare genres, which validation "
    "loss does not: compare each only with itself."
)

LAST_KEPT = (
    "Validation has too few tracks to choose an epoch by, or to see overfitting: the last epoch's model was kept."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rule's result."""

    overfits: bool  # whether validation loss rose while training loss fell
    gap: float | None  # training minus validation accuracy of the kept model; None without enough validation
    sentences: list[str]  # at least one

    @property
    def word(self) -> str:
        """Return the verdict in short."""
        if self.overfits:
            return "overfits"
        if self.gap is None:
            return "unknown"
        return "large gap" if self.wide else "no overfitting"

    @property
    def wide(self) -> bool:
        """Return whether the kept model is much better on its training tracks."""
        return (self.gap or 0) > GAP

    @property
    def bad(self) -> bool:
        """Return whether the model overfits or has a large gap."""
        return self.overfits or self.wide


def assess(history: list[dict[str, Any]], best_epoch: int, unit: str = "window", *, chosen: bool = True) -> Verdict:
    """Apply the rule.

    Args:
      history: rows of history.csv, at least one.
      best_epoch: the epoch that the kept model is from, counted from 1.
      unit: what its scores count, window or track.
      chosen: whether validation chose that epoch, and did not have too few tracks for it.
    """
    last = history[-1]
    if last["val_loss"] is None:
        return Verdict(False, None, ["Without a validation split, overfitting cannot be measured."])
    if not chosen:
        return Verdict(False, None, [LAST_KEPT])
    kept = next(row for row in history if row["epoch"] == best_epoch)
    score = score_of(history)
    gap = None if None in (kept[score], kept[f"val_{score}"]) else kept[score] - kept[f"val_{score}"]
    if len(history) < FEWEST:
        return Verdict(
            False, gap, [f"Only {len(history)} epochs: too few to tell.", *_gap_sentences(kept, score, unit)]
        )
    after = next(row for row in history if row["epoch"] >= best_epoch and row["phase"] == last["phase"])
    overfits = last["val_loss"] > (1 + RISE) * kept["val_loss"] and last["loss"] < after["loss"]
    return Verdict(overfits, gap, [_loss_sentence(last, kept, overfits), *_gap_sentences(kept, score, unit)])


def score_of(history: list[dict[str, Any]]) -> str:
    """Return what the rows of history.csv have beside the loss, one of `state.SCORES`."""
    return next(score for score in SCORES if score in history[0])


def _loss_sentence(last: dict[str, Any], kept: dict[str, Any], overfits: bool) -> str:
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


def _gap_sentences(kept: dict[str, Any], score: str, unit: str) -> list[str]:
    """Compare the kept epoch on training and validation; nothing where one of the two has no score."""
    training, validation = kept[score], kept[f"val_{score}"]
    if training is None or validation is None:
        return []
    gap, text = training - validation, f"At epoch {kept['epoch']} "
    if score == ACCURACY:
        text += f"it is right on {training:.0%} of training and {validation:.0%} of validation {unit}s: "
    else:
        text += f"its average precision is {training:.0%} on training and {validation:.0%} on validation {unit}s: "
    if gap > GAP:
        return [text + f"a gap of {100 * gap:.0f} points. More data or stronger regularisation should help."]
    if gap < 0:
        return [text + "no gap (augmentation makes training the harder of the two)."]
    return [text + f"a gap of {100 * gap:.0f} points."]


def _assess_run(run: Run) -> Verdict:
    return assess(run.state.history, run.state.best_epoch, _unit(run), chosen=run.state.best is not None)


def _unit(run: Run) -> str:
    """Return what the accuracy while training counts: windows, or whole tracks."""
    spec = MODELS.get(run.config.model)
    return "track" if spec and spec.pool == "track" else "window"


def remark(models: Sequence[ModelOfRun]) -> str | None:
    """Return a sentence for the summary; None where no model has epochs, as classical ones have none."""
    verdicts = {model.name: _assess_run(model.run) for model in models if model.run.state.history}
    if not verdicts:
        return None
    overfit = [name for name, verdict in verdicts.items() if verdict.overfits]
    wide = [name for name, verdict in verdicts.items() if verdict.wide]
    parts = []
    if overfit:
        parts.append(f"Overfitting set in while {listing(overfit)} trained; the weights from before that were kept.")
    if wide:
        better = "Far better" if any(model.run.config.many for model in models) else "Right far more often"
        parts.append(f"{better} on training than on validation: {listing(wide)}.")
    if not parts and any(verdict.gap is not None for verdict in verdicts.values()):
        return "No learning curve shows overfitting."
    return " ".join(parts) or None


def curves(runs: Sequence[Run]) -> Html:
    """Return the section."""
    without = [name for run in runs if not run.state.history for name in run.predictions.models]
    runs = [run for run in runs if run.state.history]
    keys = {"training": "training", "validation": "validation", "kept": "the epoch that was kept"}
    return section(
        "curves",
        "Learning curves",
        legend(keys) if runs else None,
        [_curves_of(run) for run in runs],
        paragraph(f"Fitted without epochs, so without curves: {listing(without)}.") if without else None,
        paragraph(RULE, MANY if any(run.config.many for run in runs) else None, class_="note") if runs else None,
    )


def _curves_of(run: Run) -> Html:
    verdict = _assess_run(run)
    loss = _panel(run, "loss", "loss", shares=False)
    score = score_of(run.state.history)
    scores = _panel(run, score, f"{score.replace('_', ' ')} by {_unit(run)}", shares=True)
    tone = "bad" if verdict.bad else "unknown" if verdict.gap is None else "good"
    badge = element("span", verdict.word, class_=f"badge {tone}")
    title = element("h3", f"{run.config.model} ", badge, " ", element("span", run.path, class_="path"))
    panels = element("div", loss, scores, class_="panels")
    return element("div", title, panels, bullets(verdict.sentences), class_="curves")


def _panel(run: Run, column: str, title: str, *, shares: bool) -> Html:
    """Draw a column of history.csv over the epochs; `shares`: on a scale from 0 to 100%."""
    rows = run.state.history
    last = rows[-1]["epoch"]
    training = [(row["epoch"], row[column]) for row in rows if row[column] is not None]
    validation = [(row["epoch"], row[f"val_{column}"]) for row in rows if row[f"val_{column}"] is not None]
    values = [value for _, value in training + validation]
    top = 1.0 if shares else max(values) * 1.05
    low = 0.0 if shares else min(0.0, *values)
    frame = Frame(*PANEL, (1.0, float(max(2, last))), (low, top))
    label = f"{title} of {run.path} over {last} epochs: "
    label += f"training ends at {training[-1][1]:.2f}" if training else "not measured in training"
    label += f", validation at {validation[-1][1]:.2f}" if validation else ""
    epochs = sorted({1, *(tick for tick in ticks(1, max(2, last)) if tick == int(tick))})
    kept = [point for point in validation if point[0] == run.state.best_epoch]
    drawn = drawing(
        frame,
        label,
        axes(frame, epochs, ticks(low, top, 4), "epoch", shares=shares),
        _phases(frame, rows),
        _upright(frame, run.state.best_epoch, "kept"),
        line(frame, training, "training"),
        line(frame, validation, "validation") if validation else None,
        [element("circle", cx=frame.at_x(x), cy=frame.at_y(y), r=4, class_="dot validation") for x, y in kept],
    )
    return element("figure", element("figcaption", title), drawn)


def _phases(frame: Frame, rows: list[dict[str, Any]]) -> list[Html]:
    """Draw a line and a name where a new phase starts."""
    starts = [(row["epoch"] - 0.5, row["phase"]) for before, row in pairwise(rows) if row["phase"] != before["phase"]]
    y = frame.at_y(frame.y[0]) - 6
    return [
        fragment(
            _upright(frame, x, "phase"),
            element("text", f"{phase} →", x=frame.at_x(x) - 4, y=y, class_="end small"),
        )
        for x, phase in starts
    ]


def _upright(frame: Frame, x: float, class_: str) -> Html:
    at = frame.at_x(x)
    return element("line", x1=at, x2=at, y1=frame.at_y(frame.y[0]), y2=TOP, class_=class_)
