"""Precision against recall: the curves, the areas below them, and what is left out."""

import numpy as np
import pytest

from tests.trainers.finished_runs import GENRES, write_run
from tests.trainers.report.test_report import Parsed
from trainers.evaluation.multilabel import average_precision
from trainers.report.collect import compare, read_runs
from trainers.report.precision_recall import curves_by_genre, precision_recall


def test_a_curve_has_recall_and_precision_at_each_score():
    values, truth = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, False, True, False])
    recall, precision = precision_recall(values, truth)
    np.testing.assert_allclose(recall, [0.5, 1])
    np.testing.assert_allclose(precision, [1, 2 / 3])
    area = np.sum(np.diff(recall, prepend=0) * precision)
    assert area == pytest.approx(average_precision(values, truth))


def test_every_genre_with_tracks_has_a_curve_and_its_area(tmp_path):
    label = [0] * 6 + [1] * 2
    values = np.log(np.eye(3)[label] * 0.9 + 0.03).astype(np.float32)
    run = write_run(tmp_path / "run", track_id=range(8), label=label, values={"perfect": values})
    section = curves_by_genre(compare(read_runs([run])[0]))
    text = Parsed(section).text
    assert f"{GENRES[0]} AP 1.00, 6 tracks" in text
    assert "average precision of perfect 1.00, of guessing 0.25" in section
    assert f"{GENRES[2]} AP" not in text
    assert f"{GENRES[2]}0–" in text and "mean81.00" in text
