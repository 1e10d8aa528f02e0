"""`fma report` on runs with many genres for each track: what is compared, and what the page shows."""

import json
from html import escape
from pathlib import Path

import numpy as np
import pytest

import fma
from tests.trainers.conftest import TREE
from tests.trainers.finished_runs import write_genre_run, write_run
from tests.trainers.report.test_report import Parsed, report
from trainers.report.collect import read_runs
from trainers.report.dataset import read_facts
from trainers.report.genre_confusion import genre_confusions, genres_together, worst_pairs
from trainers.report.genre_leaderboard import genre_calibration, genre_standings, genre_verdicts
from trainers.report.genre_models import Confusions, GenreComparison, compare_genres
from trainers.report.genre_tracks import genre_tracks, surprising_rows
from trainers.report.genre_tree import extremes, genre_tree
from trainers.report.listening import Listening
from trainers.runs.genre_predictions import GenrePredictions, read_genre_predictions, write_genre_predictions
from trainers.runs.state import AVERAGE_PRECISION, RunState, history_row, save_state
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import load
from transforms.tracks import Track

MUSIC = {
    **dict.fromkeys(("Rock", "Electronic", "Jazz", "Folk"), ""),
    **dict.fromkeys(("Punk", "Metal", "Garage"), "Rock"),
    **dict.fromkeys(("House", "Techno", "Ambient"), "Electronic"),
    **dict.fromkeys(("Hardcore", "Oi!"), "Punk"),
    **dict.fromkeys(("Black Metal", "Doom <b>"), "Metal"),
    **dict.fromkeys(("Bebop", "Free Jazz", "Swing"), "Jazz"),
    **dict.fromkeys(("Freak-Folk", "Singer & Songwriter"), "Folk"),
}


def compared(*runs: str) -> GenreComparison:
    return compare_genres(read_runs(runs)[1])


def rewrite(run: str, values=None, truth=None, thresholds=0.5) -> str:
    """Give a run's model other probabilities, truths or thresholds."""
    found = read_genre_predictions(run)
    (name,) = found.models
    values = found.probabilities[name] if values is None else np.array(values, np.float32)
    truth = found.truth if truth is None else np.array(truth, bool)
    limits = {name: np.full(len(found.genres), thresholds)}
    kept = GenrePredictions(found.track_id[: len(truth)], truth, found.genres, {name: values}, limits, found.prior)
    write_genre_predictions(run, "test", kept)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[str]:
    """A good Keras run and one of worse baselines, with 19 genres in four trees."""
    folder = tmp_path_factory.mktemp("many")
    good = write_genre_run(folder / "mel_cnn", MUSIC, track_id=range(100, 400))
    return [
        good,
        write_genre_run(folder / "baselines", MUSIC, ("svm", "gnb"), track_id=range(100, 400), skill=1, seed=3),
    ]


@pytest.fixture(scope="module")
def comparison(runs) -> GenreComparison:
    return compared(*runs)


def test_the_leaderboard_has_the_metrics_that_the_run_has_measured(runs, tmp_path, capsys):
    page = Parsed(report(tmp_path / "r.html", *runs))
    assert not page.open
    measured = json.loads(Path(runs[0], "metrics.json").read_text())["test"]["per_track"]
    value, (low, high) = 100 * measured["map_macro"], measured["interval"]["map_macro"]
    prior = 100 * measured["prior"]["map_macro"]
    assert f"mel_cnn is best: a mean average precision of {value:.1f}% over 19 genres" in page.text
    assert f"(95% interval {100 * low:.1f} to {100 * high:.1f}%)" in page.text
    assert f"Knowing only how common each genre is would give {prior:.1f}%; every model is better" in page.text
    for name in ("roc_auc_macro", "f1_macro", "hierarchical_f1", "lrap", "calibration_error"):
        assert f"{measured[name]:.3f}" in page.text, name
    out = capsys.readouterr().out
    assert "mean average precision over 19 genres on 300 test tracks" in out
    assert out.index("mel_cnn") < out.index("svm") < out.index("gnb")
    assert f"{value:.1f}%" in out


def test_every_section_is_there_and_linked_and_the_page_is_the_same_when_made_twice(runs, tmp_path):
    text = report(tmp_path / "a.html", *runs)
    attributes = Parsed(text).attributes
    anchors = [name for key, name in attributes if key == "id"]
    assert len(anchors) == len(set(anchors))
    links = {name.removeprefix("#") for key, name in attributes if key == "href" and name.startswith("#")}
    assert links <= set(anchors)
    for name in ("leaderboard", "tree", "extremes", "confusion", "together", "tracks", "calibration"):
        assert f"many-{name}" in links
    assert {"curves", "dataset", "runs"} <= links
    assert not links & {"leaderboard", "mistakes"}, "no section is about runs with one label"
    assert report(tmp_path / "b.html", *runs) == text


def test_runs_with_one_label_and_with_many_genres_stand_in_two_leaderboards(runs, tmp_path, capsys):
    one = [write_run(tmp_path / "mel_cnn", track_id=range(100, 160)), write_run(tmp_path / "b", ("svm", "knn"))]
    text = report(tmp_path / "r.html", one[0], runs[0], one[1], runs[1])
    page = Parsed(text)
    assert "is best: right on" in page.text and "is best: a mean average precision" in page.text
    first, second = text.index('id="leaderboard"'), text.index('id="many-leaderboard"')
    assert "knn" in text[first:second] and "gnb" not in text[first : text.index('id="genres"')]
    assert (
        "gnb" in text[second : text.index('id="many-tree"')]
        and "knn" not in text[second : text.index('id="many-tree"')]
    )
    out = capsys.readouterr().out
    assert out.index("accuracy on 60 test tracks") < out.index("mean average precision over 19 genres on 300")
    other = write_run(tmp_path / "other", digest="b" * 64, track_id=range(60))
    assert fma.main(["report", other, runs[0], "--out", str(tmp_path / "no.html")]) == 2
    assert "trained on different datasets" in capsys.readouterr().err


def test_a_model_that_is_worse_is_told_from_one_that_is_too_close(runs, tmp_path, comparison):
    places = genre_standings(comparison)
    assert [place.model.name for place in places] == ["mel_cnn", "svm", "gnb"]
    assert places[0].p is None and places[1].p < 0.001 and places[1].worse
    low, high = places[1].difference
    assert low < places[1].value - places[0].value < high < 0
    near = write_genre_run(tmp_path / "near", MUSIC, track_id=range(100, 400), seed=8)
    again = compared(runs[0], near)
    assert genre_standings(again)[1].p > 0.05
    assert "These tracks are too few to tell" in " ".join(genre_verdicts(again, genre_standings(again)))
    same = write_genre_run(tmp_path / "same", MUSIC, track_id=range(100, 400))
    assert genre_standings(compared(runs[0], same))[1].p == 1


def test_models_are_compared_on_the_tracks_and_genres_that_all_have(runs, tmp_path, capsys):
    fewer = {name: parent for name, parent in MUSIC.items() if name not in ("Hardcore", "Swing")}
    found = read_genre_predictions(runs[0])
    at = [found.genres.index(name) for name in fewer]
    run = write_genre_run(tmp_path / "fewer", fewer, track_id=range(150, 300))
    rewrite(run, truth=found.truth[50:200][:, at])
    both = compared(runs[0], run)
    assert "Hardcore" not in both.genres and len(both.genres) == 17
    assert both.unknown == ["Hardcore", "Swing"]
    np.testing.assert_array_equal(both.track_id, np.arange(150, 300))
    np.testing.assert_array_equal(both.models[0].truth, found.truth[50:200][:, at])
    assert both.taxonomy.line("Oi!") == ("Oi!", "Punk", "Rock")
    page = Parsed(report(tmp_path / "r.html", runs[0], run))
    assert "Left out, since not every model knows them: Hardcore and Swing." in page.text
    assert "compared on the other 17" in capsys.readouterr().err


def test_runs_whose_trees_or_truths_differ_are_refused(runs, tmp_path, capsys):
    moved = write_genre_run(tmp_path / "moved", {**MUSIC, "Hardcore": "Techno"}, track_id=range(100, 400))
    changed = write_genre_run(tmp_path / "changed", MUSIC, track_id=range(100, 400))
    truth = read_genre_predictions(changed).truth.copy()
    truth[7, 3] ^= True
    rewrite(changed, truth=truth)
    for run, words in ((moved, "Hardcore below Punk below Rock"), (changed, "track 107 is Folk in only one of")):
        assert fma.main(["report", runs[0], run, "--out", str(tmp_path / "r.html")]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "compare runs" in line]
        assert words in line


def test_the_tree_shows_every_genre_below_its_parent_with_its_precision_and_tracks(comparison):
    page = Parsed(genre_tree(comparison))
    shown = genre_tree(comparison).split("<summary>precision, recall")[0]
    scores = comparison.models[0].scores["per_genre"]
    for name in ("Rock", "Punk", "Oi!"):
        bar = f'width="{100 * scores[name]["average_precision"]:.2f}%"'
        row = shown[shown.index(f">{name}</span>") :].split("</div>")[0]
        assert bar in row and f">{scores[name]['support']:,}</span>" in row
        guess = f"{100 * scores[name]['support'] / 300:.2f}%"
        assert f'x1="{guess}" x2="{guess}"' in row
    order = [shown.index(f">{name}</span>") for name in ("Rock", "Punk", "Oi!")]
    assert order == sorted(order)
    assert 'style="--depth:2">Oi!<' in shown
    assert "Doom <b>" in page.text and "b" not in page.tags
    supports = [comparison.support[name] for name in comparison.tops]
    assert supports == sorted(supports, reverse=True)


def test_long_trees_are_folded_and_show_their_genres_as_dots(tmp_path):
    wide = {f"top {i}": "" for i in range(16)} | {f"genre {i}": f"top {i % 16}" for i in range(145)}
    tree = genre_tree(compared(write_genre_run(tmp_path / "wide", wide, track_id=range(900))))
    folded, opened = tree.count("<details><summary><div"), tree.count("<details open><summary><div")
    assert (folded, opened) == (13, 3), "of 16 trees with 161 genres, those with the first 30 rows are open"
    assert tree.count('class="child"') == 145
    assert tree.count('class="branch"') == 161


def test_the_rarest_that_work_and_the_commonest_that_fail_are_named(tmp_path):
    run = write_genre_run(tmp_path / "r", MUSIC, track_id=range(400), skill=9)
    found = read_genre_predictions(run)
    values = found.probabilities["mel_cnn"].copy()
    at = [found.genres.index(name) for name in ("House", "Bebop")]
    values[:, at] = np.random.default_rng(0).random((400, 2))
    values[:, at[1]] = np.where(found.truth[:, at[0]], 0.9, 0.1)  # House is taken for Bebop
    text = Parsed(extremes(compared(rewrite(run, values)))).text
    works, fails = text.split("The commonest genres that fail")
    assert "House" in fails and "Bebop" in fails and "House" not in works
    assert "Bebop 100%" in fails


def test_confusions_count_what_tracks_lack():
    truth = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 0], [0, 1, 0]], bool)
    predicted = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 0], [1, 0, 0]], bool)
    found = Confusions.of(truth, predicted)
    assert found.lacking[0].tolist() == [0, 2, 2]
    assert found.called[0].tolist() == [0, 2, 0], "two tracks of the first genre lack the second, and get it"
    assert found.instead[0].tolist() == [0, 1, 0], "for one of them the first genre is not predicted"
    assert found.called[1].tolist() == [1, 0, 0]


def test_the_worst_confusion_is_the_one_beyond_what_is_usual_and_names_its_tracks(tmp_path):
    run = write_genre_run(tmp_path / "r", MUSIC, track_id=range(400), skill=9)
    found = read_genre_predictions(run)
    values = found.probabilities["mel_cnn"].copy()
    genres = found.genres
    punk, house = genres.index("Punk"), genres.index("House")
    values[found.truth[:, punk], house] = 0.97
    values[found.truth[:, punk], genres.index("Hardcore")] = 0.98  # a guess at more than is known
    both = compared(rewrite(run, values))
    one, other, rows = worst_pairs(both)[0]
    assert (genres[one], genres[other]) == ("Punk", "House")
    assert (found.truth[rows, punk] & ~found.truth[rows, house]).all()
    text = Parsed(genre_confusions(both, lambda row: f"track at {row}")).text
    assert f"track at {rows[0]}" in text
    assert "Rock › Punk called Electronic › House" in text
    assert all(
        genres[second] not in ("Hardcore", "Oi!") for first, second, _ in worst_pairs(both) if genres[first] == "Punk"
    )


def test_genres_that_go_together_are_those_of_the_truth(tmp_path):
    run = write_genre_run(tmp_path / "r", MUSIC, track_id=range(300))
    found = read_genre_predictions(run)
    truth = np.zeros_like(found.truth)
    names = found.genres
    for row in range(300):
        own = (
            ("Bebop", "Jazz", "House", "Electronic")
            if row < 60
            else ("Folk",)
            if row < 200
            else ("Techno", "Electronic")
        )
        truth[row, [names.index(name) for name in own]] = True
    text = Parsed(genres_together(compared(rewrite(run, truth=truth)))).text
    assert (
        "Electronic › House and Jazz › Bebop60100.0%100.0%5.0" in text
        or "Jazz › Bebop and Electronic › House60" in text
    )
    assert "Jazz and Jazz" not in text


def test_a_track_shows_its_genres_and_each_models_along_the_tree(comparison):
    row = int(surprising_rows(comparison)[0])
    track_id = int(comparison.track_id[row])
    tracks = {track_id: Track(track_id, "Rock", "test", title="Loud <i>", artist="Somebody")}
    drawn = genre_tracks(comparison, Listening(tracks), "my data")
    text = Parsed(drawn).text
    assert f"Loud <i>, Somebody ({track_id})" in text
    assert "fma explain 'my data' TRACK_ID" in text
    card = drawn[drawn.index(f'id="genres-of-{track_id}"') :].split("</details>")[0]
    for at, name in enumerate(comparison.genres):
        if comparison.truth[row, at]:
            best = comparison.models[0]
            sign = "✓" if best.predicted[row, at] else "−"
            assert f"{sign} {best.probabilities[row, at]:.0%}" in card
            places = [card.index(f">{escape(one)}</span>") for one in reversed(comparison.taxonomy.line(name))]
            assert places == sorted(places), "each genre stands below its parent"
    said = [np.where(model.truth, model.probabilities, 1 - model.probabilities) for model in comparison.models]
    assert row == np.sum([np.log(values).sum(axis=1) for values in said], axis=0).argmin()


def test_the_calibration_says_how_many_genres_a_model_expects(tmp_path):
    run = write_genre_run(tmp_path / "r", MUSIC)
    truth = read_genre_predictions(run).truth
    sure = np.clip(truth * 1.0, 0.001, 0.999)
    assert "about right" in Parsed(genre_calibration(compared(rewrite(run, sure)))).text
    assert "too many" in Parsed(genre_calibration(compared(rewrite(run, np.full(truth.shape, 0.6))))).text
    assert "too few" in Parsed(genre_calibration(compared(rewrite(run, sure / 2)))).text


def test_learning_curves_show_average_precision_in_place_of_accuracy(tmp_path):
    run = write_genre_run(tmp_path / "r", MUSIC)
    values = {"phase": "train", "learning_rate": 0.001, "loss": 1.0, "val_loss": 0.3}
    scores = {"average_precision": 0.9, "val_average_precision": 0.41}
    rows = [history_row({"epoch": epoch, **values, **scores}, AVERAGE_PRECISION) for epoch in (1, 2, 3)]
    save_state(run, RunState(epoch=3, phase_epoch=3, best=0.3, best_epoch=2, finished="all epochs done", history=rows))
    text = Parsed(report(tmp_path / "r.html", run)).text
    assert "its average precision is 90% on training and 41% on validation windows: a gap of 49 points" in text
    assert "Far better on training than on validation: mel_cnn." in text
    assert "average precision by window" in text and "accuracy by window" not in text
    blank = [row | dict.fromkeys(scores) for row in rows]
    save_state(run, RunState(epoch=3, phase_epoch=3, best=0.3, best_epoch=2, finished="all epochs done", history=blank))
    assert "Validation loss" in Parsed(report(tmp_path / "s.html", run)).text


def test_with_its_dataset_the_page_names_tracks_and_audits_leaks(several, tmp_path):
    manifest = load(str(several))
    test = sorted(track.track_id for track in read_tracks(str(several), manifest) if track.split == "test")
    run = write_genre_run(tmp_path / "r", TREE, dataset=str(several), digest=manifest.digest, track_id=test, skill=1)
    page = Parsed(report(tmp_path / "r.html", run))
    facts = read_facts(str(several), manifest, set(test)).tracks
    assert sum(f"{facts[track_id].artist} ({track_id})" in page.text for track_id in test) >= 5
    assert "Leak audit" in page.text and "as it was when the models were trained" in page.text
