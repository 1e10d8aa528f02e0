"""How a model's answer changes over a track: the probabilities of two genres in each window, as lines."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from trainers.evaluation.evaluate import record_differences
from trainers.evaluation.metrics import log_softmax
from trainers.report.collect import SPLIT, Comparison, Model
from trainers.report.html import Html, count, element, legend, paragraph, percent
from trainers.report.thumbnails import read_windows
from trainers.runs.directory import BASELINES
from trainers.serving.lite import LiteScorer, open_lite_run
from transforms.dataset.manifest import Manifest

WIDTH, HEIGHT = 160.0, 32.0  # of a strip, in SVG units; as wide as a picture
MARGIN = 2.0  # above 100% and below 0%, for the width of a line
MOST_STEPS = 80  # of a line; of a track with more windows, neighbours are averaged


@dataclass(frozen=True)
class OverTime:
    """Strips of the tracks that a page names."""

    explanation: Html | None = None  # for all of them; None where there are none
    strips: dict[int, Html] = field(default_factory=dict)  # by track


def draw_over_time(comparison: Comparison, dataset: str, manifest: Manifest, tracks: Collection[int]) -> OverTime:
    """Return strips of test tracks, by the best model that answers for windows and whose records the dataset has.

    Runs keep answers by track only, so those for windows are computed here, by the run's TFLite model. Without such a
    model there are no strips.

    Raises:
      FmaError: the model or a shard is damaged.
    """
    found = _find_model(comparison, manifest) if tracks else None
    if not found:
        return OverTime()
    model, scorer = found
    (kind,) = scorer.kinds
    logits: dict[int, list[np.ndarray]] = {}
    for track_id, payload in read_windows(dataset, manifest, kind, tracks, title="answers over time"):
        logits.setdefault(track_id, []).append(scorer.rows(kind, payload[None])[0])
    rows = dict(zip(comparison.track_id.tolist(), range(len(comparison.track_id)), strict=True))
    strips = {
        track_id: _strip(model, rows[track_id], scorer.task.labels, np.exp(log_softmax(np.concatenate(parts))))
        for track_id, parts in logits.items()
    }
    length = manifest.config.window_seconds
    explanation = paragraph(
        f"The lines below a picture follow {model.name} through the track: how likely it finds the genre of the label "
        f"(dashed) and the genre that it answers (solid) in each window of {length:.1f} s, from 0% at the bottom to "
        "100% at the top. Its answer for the track is made of all windows.",
        class_="note",
    )
    return OverTime(explanation, strips)


def _find_model(comparison: Comparison, manifest: Manifest) -> tuple[Model, LiteScorer] | None:
    for model in comparison.models:
        run = model.run
        scorer = open_lite_run(run.path, run.config) if run.config.model != BASELINES else None
        if scorer and scorer.by_window:
            (kind,) = scorer.kinds
            if manifest.shards(kind, SPLIT) and not record_differences(scorer.config, manifest.config, kind):
                return model, scorer
    return None


def _strip(model: Model, row: int, labels: list[str], probabilities: np.ndarray) -> Html:
    """Return the strip of a track; `probabilities` are float [windows, labels]."""
    windows = len(probabilities)
    parts = np.array_split(probabilities, min(windows, MOST_STEPS))
    means = np.stack([part.mean(axis=0) for part in parts])
    answer, truth = model.genres[model.predicted[row]], model.genres[model.label[row]]
    named = {"labelled": truth, "answered": answer}
    if answer == truth:
        del named["labelled"]
    lines = {
        tone: means[:, labels.index(genre)] if genre in labels else np.zeros(len(means))
        for tone, genre in named.items()
    }
    said = "; ".join(
        f"{named[tone]} {percent(values.min())} to {percent(values.max())}, mean {percent(values.mean())}"
        for tone, values in lines.items()
    )
    drawn = element(
        "svg",
        element("line", x1=0, x2=WIDTH, y1=HEIGHT / 2, y2=HEIGHT / 2, class_="grid"),
        [_steps(values, tone) for tone, values in lines.items()],
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{model.name} over {count(windows, 'window')}: {said}",
        class_="plot strip",
    )
    return element("div", drawn, legend(named))


def _steps(values: np.ndarray, tone: str) -> Html:
    """Draw a line of steps, one for each value in [0, 1]."""
    edges = np.linspace(0, WIDTH, len(values) + 1)
    heights = HEIGHT - MARGIN - values * (HEIGHT - 2 * MARGIN)
    xs, ys = np.repeat(edges, 2)[1:-1], np.repeat(heights, 2)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return element("polyline", points=points, class_=tone)
