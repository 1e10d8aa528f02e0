"""Augmentation of training batches: gain, mixup and SpecAugment, inside the graph, from stateless seeds.

Features are normalised: log-mel with mean 0 in each band; raw in [-1, 1).
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

QUANTILES = 4096
"""Of the beta distribution: one of them is drawn instead of a value, since XLA cannot draw from a beta distribution."""

SEEDS = 2**31  # upper bound of seeds: only below it does TensorFlow draw the same numbers with and without XLA
FREQUENCY_MASKS, TIME_MASKS = 2, 2  # groups of neighbouring bands, and of frames, that are masked in each record
FREQUENCY_SHARE, TIME_SHARE = 0.12, 0.15  # the largest group, as a share of the bands or frames


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The augmentation of a training batch, in this order: gain, mixup, SpecAugment."""

    gain_db: float = 6.0  # each record becomes louder or softer by up to so many dB; 0 switches it off
    mixup: float = 0.2  # alpha of the beta distribution that two records' shares are drawn from; 0 switches it off
    spec_augment: bool = True  # whether bands and frames of log-mel are masked; raw is left alone
    # normalised units of 1 dB in each band of log-mel, one number for all of them or one for each; 1/15 stands for a
    # standard deviation of 15 dB
    units_per_db: float | tuple[float, ...] = 1 / 15

    def augment(self, features: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Augment a batch; equal arguments give equal results.

        Args:
          features: float [batch, bands, frames] (normalised log-mel) or [batch, samples] (raw).
          labels: float [batch, classes], one-hot or soft.
          seed: integers [2], such as (the run's seed, the step).

        Returns:
          (features, labels) of the same shapes and dtypes; labels are soft where mixup is on.
        """
        gain_seed, mixup_seed, mask_seed = split_seed(tf.cast(seed, tf.int64), 3)
        is_mel = features.shape.rank == 3
        if self.gain_db:
            features = change_gain(features, gain_seed, self.gain_db, self.units_per_db)
        if self.mixup:
            features, labels = mix(features, labels, mixup_seed, self.mixup)
        if self.spec_augment and is_mel:
            features = mask(features, mask_seed)
        return features, labels


def change_gain(
    features: tf.Tensor, seed: tf.Tensor, gain_db: float, units_per_db: float | tuple[float, ...]
) -> tf.Tensor:
    """Make each record louder or softer by -gain_db to gain_db, evenly distributed.

    A gain adds the same number of dB to all of a log-mel, which is `units_per_db` times as many normalised units; raw
    samples are multiplied by 10 ** (dB / 20) and clipped to [-1, 1].
    """
    db = gain_db * (2 * uniform([features.shape[0]], seed) - 1)
    if features.shape.rank == 3:
        units = tf.reshape(tf.constant(units_per_db, tf.float32), [1, -1, 1])
        return features + tf.cast(db[:, None, None] * units, features.dtype)
    factor = tf.cast(tf.pow(10.0, db / 20)[:, None], features.dtype)
    return tf.clip_by_value(features * factor, -1, 1)


def mix(features: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, alpha: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply mixup (Zhang et al., 2018): lambda of each record and 1 - lambda of its neighbour, labels too.

    lambda is drawn for each record from Beta(alpha, alpha). The batch is shuffled, so any neighbour is a random one.
    """
    from scipy.special import betaincinv

    quantiles = betaincinv(alpha, alpha, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    drawn = tf.cast(uniform([features.shape[0]], seed) * QUANTILES, tf.int32)
    share = tf.gather(tf.constant(quantiles, tf.float32), drawn)

    def blend(values: tf.Tensor) -> tf.Tensor:
        own = tf.cast(tf.reshape(share, [-1] + [1] * (values.shape.rank - 1)), values.dtype)
        other = tf.roll(values, 1, axis=0)
        return other + own * (values - other)

    return blend(features), blend(labels)


def mask(features: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Apply SpecAugment (Park et al., 2019) without its time warp: masked bands and frames become 0, the mean."""
    _, bands, frames = features.shape
    band_seed, frame_seed = split_seed(seed, 2)
    hidden_bands = _draw_masks(features.shape[0], bands, FREQUENCY_MASKS, FREQUENCY_SHARE, band_seed)
    hidden_frames = _draw_masks(features.shape[0], frames, TIME_MASKS, TIME_SHARE, frame_seed)
    hidden = hidden_bands[:, :, None] | hidden_frames[:, None, :]
    return tf.where(hidden, tf.zeros([], features.dtype), features)


def _draw_masks(batch: int, size: int, masks: int, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Draw masks, bool [batch, size]: widths even over 0 to share * size, then even over the places that fit."""
    widest = int(share * size)
    drawn = uniform([2, batch, masks, 1], seed)
    width = tf.floor(drawn[0] * (widest + 1))
    start = tf.floor(drawn[1] * (size - width + 1))
    places = tf.range(size, dtype=tf.float32)
    return tf.reduce_any((places >= start) & (places < start + width), axis=1)


def uniform(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    """Draw float32 numbers, even over [0, 1), from 32 random bits each: TensorFlow's own differ under XLA."""
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, "philox")
    bits = tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32))  # 24 remain, which a float32 holds exactly
    return tf.cast(bits, tf.float32) * 2.0**-24


def split_seed(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Derive so many seeds from one, integers [2] each, below SEEDS."""
    return tf.unstack(tf.random.split(seed, count, "philox") % SEEDS)


def seed_stream(seed: int) -> tf.data.Dataset:
    """Return endless seeds for `augment`, int64 [2], other ones in every epoch; zip it with the batches."""
    return tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
