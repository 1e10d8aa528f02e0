"""The fusion: its blocks, what it is the same as, and the run of it."""

import dataclasses

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from tests.trainers.classical.test_classical import a_table
from trainers.classical.features import columns_of
from trainers.classical.fusion import FEATURES, GENRES, find_blocks, fit_fusion
from trainers.classical.models import MODELS, load_model, save_model
from trainers.classical.search import make_jobs, make_rounds, run_jobs
from trainers.evaluation.folds import artist_groups
from transforms.encoders.facts import EncoderFacts

ENCODERS = {
    "yamnet": EncoderFacts("yamnet", "raw", 22_050, {"embedding": 1024, "logits": 521}, "0" * 64),
    "mobilenet_v2": EncoderFacts(
        "mobilenet_v2", "mel", 22_050, {"block_6": 192, "block_9": 384, "out": 1280}, "1" * 64
    ),
}


def sizes(columns, genres):
    return {name: len(block) for name, block in find_blocks(columns, genres).items()}


def test_the_blocks_are_music_logits_and_two_middle_layers():
    columns = columns_of(FEATURES, ENCODERS)
    assert sizes(columns, ["Rock", "Experimental"]) == {"yamnet": 145, "mobilenet_v2": 1152}
    blocks = find_blocks(columns, ["Rock", "Experimental"])
    assert columns[blocks["yamnet"][0]] == "embedding/yamnet/logits/mean/0132"
    of_layers = {columns[at].rsplit("/", 1)[0] for at in blocks["mobilenet_v2"]}
    layers = ("block_6", "block_9")
    assert of_layers == {f"embedding/mobilenet_v2/{name}/{what}" for name in layers for what in ("mean", "deviation")}


def test_genres_that_are_classes_of_audioset_have_a_block_of_their_own():
    columns = columns_of(FEATURES, ENCODERS)
    blocks = find_blocks(columns, ["Rock", "Classical"])
    assert [columns[at][-4:] for at in blocks[GENRES]] == ["0214", "0232"]


def test_other_features_are_a_block_each():
    columns = columns_of(("stats", "theory", "embedding/yamnet"), ENCODERS)
    assert sizes(columns, ["A", "B"]) == {"statistics": 518, "theory": 84, "yamnet": 145}
    own = EncoderFacts("own", "raw", 16_000, {"out": 3}, "2" * 64)
    assert sizes(columns_of(("embedding/own",), {"own": own}), ["A", "B"]) == {"own": 6}


def test_columns_that_the_recipe_does_not_name_are_taken_where_there_are_no_others():
    columns = [column for column in columns_of(("embedding/yamnet",), ENCODERS) if "/logits/" not in column]
    assert sizes(columns, ["A", "B"]) == {"yamnet": 2048}


@pytest.mark.parametrize("genres", [2, 3])
def test_it_is_the_mean_of_the_log_probabilities_of_a_regression_for_each_block(genres):
    table = a_table((60, 10, 10), columns=8, genres=genres)
    rows, (values, labels) = table.rows("training"), (table.values, table.labels)
    blocks = {"one": np.array([0, 3]), "other": np.arange(1, 8), "again": np.array([0])}
    fused = fit_fusion(blocks, 10.0, values[rows], labels[rows]).predict_log_proba(values)
    members = []
    for columns in blocks.values():
        part = values[:, columns].astype(np.float64)
        part = (part - part[rows].mean(axis=0)) / part[rows].std(axis=0) / np.sqrt(len(columns))
        members.append(LogisticRegression(C=10.0).fit(part[rows], labels[rows]).predict_log_proba(part))
    np.testing.assert_allclose(fused, log_softmax(np.mean(members, axis=0), axis=1), atol=1e-3)


def test_its_temperature_comes_from_folds_of_the_rows_that_it_is_fitted_on_by_artist():
    table = a_table((40, 10, 10))
    for refit, splits in ((False, {"training"}), (True, {"training", "validation"})):
        (job,) = make_jobs(table, ["fusion"], ["all"], make_rounds(table, refit, 0), svm_rows=1000, seed=0)
        assert len(job.tuning) == 5
        scored = np.concatenate([scored for _, scored in job.tuning])
        assert sorted(scored) == sorted(job.fit) and set(table.splits[scored]) == splits
        artists = artist_groups(table)
        assert all(not set(artists[fitted]) & set(artists[rows]) for fitted, rows in job.tuning)


def test_it_is_stored_and_read_as_it_was(tmp_path):
    table = dataclasses.replace(a_table((60, 10, 10), columns=4), columns=("a/1", "a/2", "embedding/x/o/mean/0", "a/3"))
    jobs = make_jobs(table, ["fusion"], ["all"], make_rounds(table, False, 0), svm_rows=1000, seed=0)
    (fitted,) = run_jobs(table, jobs, 1)
    assert (fitted.scores.argmax(axis=1) == table.labels[fitted.job.test]).mean() > 0.6
    assert fitted.chosen.params == {"C": 10.0} and MODELS["fusion"].fused
    save_model(str(tmp_path), "fusion.skops", fitted.pipeline)
    again = load_model(str(tmp_path), "fusion.skops")
    np.testing.assert_array_equal(
        again.predict_log_proba(table.values), fitted.pipeline.predict_log_proba(table.values)
    )
