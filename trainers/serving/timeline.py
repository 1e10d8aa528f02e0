"""`fma predict --timeline`: which genre is likely when, song by song, as one picture."""

from collections.abc import Sequence

import numpy as np

from trainers.serving.answers import Answer
from transforms import console

MOST_SONGS = 40
ROW_INCHES = 1.7


def draw_timeline(path: str, answers: Sequence[tuple[str, Answer]]) -> None:
    """Writes a PNG with a row for each song: its genres' probabilities by window, stacked to 1.

    Args:
      path: to write to.
      answers: (name, answer), at least one, with windows.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = answers[0][1].labels
    colours = pyplot.get_cmap("tab20" if len(labels) > 10 else "tab10").colors  # type: ignore[attr-defined]
    figure, axes = pyplot.subplots(
        len(answers), 1, figsize=(9, ROW_INCHES * len(answers) + 0.7), squeeze=False, layout="constrained"
    )
    for axis, (name, answer) in zip(axes[:, 0], answers, strict=True):
        edges, values = steps(answer)
        axis.stackplot(
            edges, values.T, labels=labels, colors=[colours[i % len(colours)] for i in range(len(labels))], step="post"
        )
        axis.set_xlim(0, edges[-1])
        axis.set_ylim(0, 1)
        axis.set_yticks([0, 0.5, 1])
        axis.set_title(name, fontsize=9, loc="left")
        axis.margins(0)
    axes[-1, 0].set_xlabel("seconds")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=8)
    with console.naming(path):
        figure.savefig(path, dpi=110)
    pyplot.close(figure)


def steps(answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """A window stands for the time from its start to the next one's, the last for all of its own.

    Returns:
      seconds float64 [windows + 1], where each step begins and the last one ends; probabilities [windows + 1, classes].
    """
    starts = np.arange(len(answer.windows)) * answer.hop_seconds
    edges = np.append(starts, starts[-1] + answer.window_seconds)
    return edges, np.concatenate([answer.windows, answer.windows[-1:]])
