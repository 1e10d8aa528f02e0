"""The parts of the classical baselines: groups, splits, search spaces, search, temperature."""

import dataclasses
import json

import numpy as np
import pytest

from trainers.classical.models import FUSION, MODELS, build, candidates
from trainers.classical.search import (
    Trial,
    best_trial,
    make_jobs,
    make_rounds,
    run_jobs,
    stratified_sample,
)
from trainers.classical.table import Table, check_finite, group_columns
from trainers.evaluation import calibration
from trainers.evaluation.folds import artist_groups
from transforms.errors import FmaError, UsageError
from transforms.fma_statistics import COLUMNS

NAMES = tuple("/".join(column) for column in COLUMNS)


def a_table(counts=(30, 10, 10), columns=6, genres=2, seed=0, artists=None) -> Table:
    """Genres whose columns differ a little; splits in that order, "" where counts is one number."""
    count = sum(counts)
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % genres
    values = rng.standard_normal((count, columns)).astype(np.float32)
    values[:, 0] += 2 * labels
    splits = np.repeat(("training", "validation", "test") if len(counts) == 3 else ("",), counts)
    return Table(
        name="a table",
        digest="0",
        track_ids=np.arange(100, 100 + count),
        values=values,
        columns=tuple(f"f{i % 3}/mean/{i:02d}" for i in range(columns)),
        labels=labels,
        genres=[f"Genre {i}" for i in range(genres)],
        splits=splits,
        artists=np.array(artists or [f"artist {i // 2}" for i in range(count)]),
    )


def fit_all(table, models, *, refit=False, seed=0, workers=1, svm_rows=1000):
    jobs = make_jobs(table, models, ["all"], make_rounds(table, refit, seed), svm_rows=svm_rows, seed=seed)
    return run_jobs(table, jobs, workers)


def test_a_value_that_is_no_number_is_refused_by_track_and_column():
    table = a_table()
    table.values[3, 4] = np.nan
    with pytest.raises(FmaError, match="track 103 has no finite number in f1/mean/04"):
        check_finite(table)


@pytest.mark.parametrize(
    ("group", "count"),
    [("mfcc", 140), ("mfcc+contrast", 189), ("mfcc+contrast+centroid", 196), ("level-free", 509), ("all", 518)],
)
def test_feature_groups_have_the_papers_dimensions(group, count):
    found = group_columns(NAMES, group)
    assert len(found) == count
    if group == "mfcc":
        assert {NAMES[i].partition("/")[0] for i in found} == {"mfcc"}


def test_an_unknown_feature_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"'mffc'.*mfcc.*zcr"):
        group_columns(NAMES, "mffc+contrast")


def test_hyper_parameters_are_chosen_on_validation_alone():
    table = a_table()
    (found,) = make_rounds(table, refit=False, seed=0)
    ((fitted, scored),) = found.tuning
    assert set(table.splits[fitted]) == {"training"} and set(table.splits[scored]) == {"validation"}
    assert set(table.splits[found.fit]) == {"training"} and set(table.splits[found.test]) == {"test"}


def test_refit_adds_validation_to_the_final_fit_only():
    table = a_table()
    (found,) = make_rounds(table, refit=True, seed=0)
    assert set(table.splits[found.fit]) == {"training", "validation"}
    assert set(table.splits[found.tuning[0][0]]) == {"training"}


def test_without_validation_artists_stay_together_in_cross_validation_within_training():
    table = a_table((40, 0, 10))
    (found,) = make_rounds(table, refit=True, seed=0)
    assert len(found.tuning) == 5
    artists = artist_groups(table)
    for fitted, scored in found.tuning:
        assert set(table.splits[fitted]) == set(table.splits[scored]) == {"training"}
        assert not set(artists[fitted]) & set(artists[scored])
    assert sorted(np.concatenate([scored for _, scored in found.tuning])) == sorted(table.rows("training"))


def test_validation_with_under_five_tracks_of_a_genre_chooses_nothing():
    table = a_table((40, 9, 10))
    (found,) = make_rounds(table, refit=False, seed=0)
    assert len(found.tuning) == 5
    scored = np.sort(np.concatenate([scored for _, scored in found.tuning]))
    assert set(table.splits[scored]) == {"training", "validation"} and len(scored) == 49
    assert set(table.splits[found.fit]) == {"training"} and set(table.splits[found.test]) == {"test"}
    alone = dataclasses.replace(table, artists=np.array(["one"] * 59))
    assert len(make_rounds(alone, refit=False, seed=0)[0].tuning) == 1, "one artist makes no folds"


def test_a_rare_genre_leaves_the_choice_to_validation():
    table = a_table((40, 10, 10), genres=2)
    labels = table.labels.copy()
    labels[:4] = 2
    rare = dataclasses.replace(table, labels=labels, genres=[*table.genres, "Rare"])
    assert len(make_rounds(rare, refit=False, seed=0)[0].tuning) == 1
    labels[4] = 2
    assert len(make_rounds(rare, refit=False, seed=0)[0].tuning) == 5, "a genre of more than a tenth of the tracks"


@pytest.mark.parametrize(("counts", "folds"), [((100,), None), ((60, 20, 20), 5)])
def test_in_folds_every_track_is_tested_once_by_models_that_never_saw_its_artist(counts, folds):
    table = a_table(counts)
    rounds = make_rounds(table, refit=True, seed=0, folds=folds)
    assert sorted(np.concatenate([found.test for found in rounds])) == list(range(100)) and len(rounds) == 5
    artists = artist_groups(table)
    for found in rounds:
        ((fitted, scored),) = found.tuning
        assert not set(artists[found.test]) & set(artists[found.fit])
        assert not set(artists[fitted]) & set(artists[scored])
        assert set(found.fit) == set(fitted) | set(scored)


def test_in_small_folds_too_the_choice_is_made_by_cross_validation():
    table = a_table((24,))
    artists = artist_groups(table)
    for found in make_rounds(table, refit=False, seed=0, folds=4):
        assert len(found.tuning) == 5
        tuned = np.concatenate([np.concatenate(rows) for rows in found.tuning])
        assert not set(artists[found.test]) & set(artists[tuned])


def test_folds_follow_the_seed():
    table = a_table((50,))
    first, again, other = (make_rounds(table, refit=False, seed=seed)[0].test.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_artists_are_told_apart_without_case_and_unknown_ones_are_all_different():
    table = a_table((4,), artists=["The  Band", "the band", "", ""])
    groups = artist_groups(table)
    assert groups[0] == groups[1] and len(set(groups)) == 3


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((10, 5, 0), "no track in the test split: add music by other artists, or give splits in a csv"),
        ((0, 5, 5), "no track in the training split"),
        ((2, 0, 5), "too small to choose hyper-parameters within training: .* a genre with two tracks; add music"),
    ],
)
def test_a_split_that_is_needed_is_asked_for(counts, message):
    with pytest.raises(UsageError, match=message):
        make_rounds(a_table(counts), refit=False, seed=0)


def test_one_genre_is_nothing_to_learn():
    with pytest.raises(UsageError, match="one genre"):
        make_rounds(a_table(genres=1), refit=False, seed=0)


def test_a_stratified_sample_keeps_shares_and_rare_genres():
    labels = np.repeat([0, 1, 2], [800, 199, 1])
    rows = stratified_sample(labels, np.arange(1000), 100, seed=0)
    assert len(rows) == 100 and (np.diff(rows) > 0).all()
    counts = np.bincount(labels[rows])
    assert counts[2] == 1 and abs(counts[0] - 80) <= 1
    assert stratified_sample(labels, np.arange(50), 100, seed=0).tolist() == list(range(50))


@pytest.mark.parametrize("model", [name for name in MODELS if name != FUSION])
def test_every_candidate_of_every_model_can_be_fitted(model):
    table = a_table((24, 0, 0), columns=8, genres=3)
    for params in candidates(model, 8, 24):
        assert json.loads(json.dumps(params)) == params
        pipeline = build(model, params).fit(table.values, table.labels)
        found = calibration.class_scores(pipeline, MODELS[model].scores, table.values, 3)
        assert np.isfinite(found).all()


def test_the_scaler_knows_only_the_fitted_rows():
    table = a_table()
    table.values[table.rows("test")] += 1000
    table.values[table.rows("validation")] -= 1000
    (fitted,) = fit_all(table, ["gnb"])
    mean = fitted.pipeline.named_steps["scale"].mean_
    np.testing.assert_allclose(mean, table.values[table.rows("training")].mean(axis=0), atol=1e-4)


def test_the_test_split_has_no_say_in_the_choice():
    table = a_table()
    changed = dataclasses.replace(table, values=table.values.copy(), labels=table.labels.copy())
    test = table.rows("test")
    changed.values[test], changed.labels[test] = -changed.values[test], 1 - changed.labels[test]
    for one, other in zip(*(fit_all(t, ["logreg", "svm"]) for t in (table, changed)), strict=True):
        assert one.trials == other.trials and one.chosen == other.chosen


def test_a_candidates_folds_count_together():
    table = a_table((40, 0, 10))
    (fitted,) = fit_all(table, ["gnb"])
    right = 0
    for rows, scored in fitted.job.tuning:
        model = build("gnb", fitted.chosen.params).fit(table.values[rows], table.labels[rows])
        right += (model.predict(table.values[scored]) == table.labels[scored]).sum()
    assert fitted.chosen.accuracy == right / 40


def test_the_lowest_log_loss_wins_and_the_first_of_equals():
    trials = [
        Trial({"C": c}, accuracy, loss, 1.0, True)
        for c, accuracy, loss in ((1, 0.9, 0.8), (2, 0.5, 0.7), (3, 0.6, 0.7))
    ]
    assert best_trial(trials).params == {"C": 2}


@pytest.mark.long
def test_results_do_not_depend_on_the_number_of_processes():
    table = a_table((30, 10, 10), columns=5)
    for one, two in zip(fit_all(table, ["gnb", "svm_rbf"]), fit_all(table, ["gnb", "svm_rbf"], workers=2), strict=True):
        assert one.trials == two.trials
        np.testing.assert_array_equal(one.scores, two.scores)


def test_an_svm_on_many_rows_is_fitted_on_a_sample_and_says_so(capsys):
    (fitted,) = fit_all(a_table((300, 20, 20)), ["svm_linear"], svm_rows=100)
    assert len(fitted.job.fit) == 100
    assert "fitted on 100 of 300" in capsys.readouterr().err


def test_temperature_leaves_the_prediction_and_mends_overconfidence():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    found = rng.standard_normal((500, 3))
    found[np.arange(500), labels] += 1.0
    temperature = calibration.fit_score_temperature(found * 50, labels)
    assert 30 < temperature < 90
    calibrated = calibration.log_probabilities(found * 50, temperature)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), found.argmax(axis=1))
    assert calibration.log_loss(found * 50, labels, temperature) < calibration.log_loss(found * 50, labels, 1.0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, 1e9])
def test_temperature_follows_the_scale_of_the_scores(scale):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    found = rng.standard_normal((500, 3))
    found[np.arange(500), labels] += 1.0
    found[:, 2] = np.where(labels == 2, found[:, 2], -np.inf)  # a genre that some rows have no score for
    assert calibration.fit_score_temperature(found * scale, labels) / scale == pytest.approx(
        calibration.fit_score_temperature(found, labels), rel=2e-3
    )


def test_temperature_does_not_mind_rows_whose_genre_has_no_score():
    rng = np.random.default_rng(0)
    found = np.c_[rng.standard_normal((40, 2)), np.full(40, -np.inf)]
    labels = rng.integers(0, 2, 40)
    more = calibration.fit_score_temperature(np.r_[found, found[:5]], np.r_[labels, np.full(5, 2)])
    assert more == calibration.fit_score_temperature(found, labels)
    assert calibration.fit_score_temperature(found, np.full(40, 2)) == 1.0


def test_a_probability_of_zero_is_a_low_score_without_a_warning(recwarn):
    table = a_table()
    pipeline = build("logreg", {"pca": None, "C": 1e6}).fit(table.values, table.labels)
    far = np.full((4, 6), 1e6, np.float32)
    found = calibration.class_scores(pipeline, "predict_log_proba", far, 2)
    assert np.isneginf(found).any()
    assert calibration.log_probabilities(found, 1.0).min() >= calibration.UNKNOWN_GENRE
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_a_genre_that_the_fitted_rows_lack_is_possible_but_unlikely():
    table = a_table((20, 0, 0), genres=2)
    pipeline = build("logreg", {"pca": None, "C": 1.0}).fit(table.values, table.labels * 2)
    found = calibration.log_probabilities(calibration.class_scores(pipeline, "predict_log_proba", table.values, 4), 1.0)
    assert found.shape == (20, 4) and (found[:, [1, 3]] == calibration.UNKNOWN_GENRE).all()
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)
