import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from pipelines.statistics.preprocess import Coder, MergeFn, Moments

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((200, 6)) * [1, 10, 1e-3, 1, 1, 0] + [0, 1e6, 5, 0, 0, 0.5]


def assert_close(moments: Moments, rows: np.ndarray) -> None:
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(moments.scatter / len(rows), np.cov(rows.T, bias=True), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cuts", [[], [1], [100], [1, 2, 3, 150]])
def test_moments_of_pieces_add_up_to_those_of_the_whole(cuts):
    pieces = [Moments.of(rows) for rows in np.split(ROWS, cuts)]
    assert_close(MergeFn().merge_accumulators([None, *pieces, None]), ROWS)


def test_a_column_far_from_zero_costs_no_digits():
    far = ROWS + 1e8
    moments = Moments.of(far[:70]) + Moments.of(far[70:])
    assert moments.scatter[0, 0] / 200 == pytest.approx(ROWS[:, 0].var(), rel=1e-7)
    naive = (far**2).mean(axis=0)[0] - far.mean(axis=0)[0] ** 2
    assert abs(naive - ROWS[:, 0].var()) > 0.1  # what a sum of squares would have given


def test_nothing_adds_up_to_nothing():
    assert MergeFn().merge_accumulators([None, None]) is None


def test_the_summary_has_mean_deviation_and_axes_of_the_z_scores():
    summary = Moments.of(ROWS).summary(8)
    deviation = ROWS.std(axis=0)
    assert deviation[5] == 0
    deviation[5] = 1
    np.testing.assert_allclose(summary[:, 0], ROWS.mean(axis=0))
    np.testing.assert_allclose(summary[:, 1], deviation, rtol=1e-9)
    scores = (ROWS - ROWS.mean(axis=0)) / deviation
    axes = summary[:, 2:7]
    variances = (scores @ axes).var(axis=0)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(np.cov(scores.T, bias=True))[:0:-1], atol=1e-12)
    np.testing.assert_allclose(axes.T @ axes, np.eye(5), atol=1e-12)
    assert (axes[np.abs(axes).argmax(axis=0), range(5)] > 0).all()
    assert not summary[:, 7:].any()  # the constant column has no variance, and there are six columns


def test_the_coder_gives_back_every_bit():
    moments = Moments.of(ROWS)
    again = Coder().decode_cache(Coder().encode_cache(moments))
    assert again.count == moments.count
    np.testing.assert_array_equal(again.mean, moments.mean)
    np.testing.assert_array_equal(again.scatter, moments.scatter)
    assert Coder().decode_cache(Coder().encode_cache(None)) is None


@pytest.mark.long
def test_tft_names_its_sums_alike_in_every_process_and_keeps_all_of_them():
    from pipelines.statistics.analyze import cache_keys
    from transforms.config import DatasetConfig

    script = inspect.getsource(print_keys) + "print_keys()"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    keys = cache_keys(DatasetConfig(), ["mel", "stats"])
    assert json.loads(printed) == keys
    assert [len(found) for found in keys.values()] == [2, 1]  # mean and variance of mel; the moments of stats


def print_keys() -> None:
    import json

    from pipelines.statistics.analyze import cache_keys
    from transforms.config import DatasetConfig

    print(json.dumps(cache_keys(DatasetConfig(), ["mel", "stats"])))


def test_tfts_own_principal_components_of_z_scores_would_not_be_kept():
    """The reason for `pipelines.statistics.preprocess`: what takes a second pass is not in TFT's cache."""
    import tensorflow as tf

    from pipelines.statistics.analyze import tensors_of
    from pipelines.statistics.tft_import import DatasetKey, get_analysis_cache_entry_keys, tft
    from transforms.config import DatasetConfig

    def preprocess(inputs):
        values = tf.cast(inputs["stats"], tf.float64)
        scores = (values - tft.mean(values, reduce_instance_dims=False)) / 2
        return {"pca": scores @ tft.pca(scores, 3, tf.float64)}

    from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

    specs = TensorAdapter(tensors_of("stats", DatasetConfig())).OriginalTypeSpecs()
    (kept,) = get_analysis_cache_entry_keys(preprocess, specs, [DatasetKey("any")], False)
    assert b"mean" in kept
