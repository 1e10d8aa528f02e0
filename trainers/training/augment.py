"""Augmentation of training batches inside the training step: degradation, gain, mixup, SpecAugment. Imports Keras.

Values are normalised: log-mel with mean 0 in each band; raw in [-1, 1). Random numbers come from the layer's own seed
generator, which counts the draws since it was seeded: equal seeds give equal draws at each step.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

QUANTILES = 4096
"""Of the beta distribution: one of them is drawn instead of a value, since XLA cannot draw from a beta distribution."""

REPLICA_STRIDE = 1_000_003  # between the seeds of two replicas

GAIN_DB = 6.0  # each record becomes louder or softer by up to so many dB
FREQUENCY_MASKS, TIME_MASKS = 2, 2  # groups of neighbouring bands, and of frames, that are masked in each record
FREQUENCY_SHARE, TIME_SHARE = 0.12, 0.15  # the largest group, as a share of the bands or frames


class ReplicaSeeds(keras.random.SeedGenerator):
    """Seeds that differ between the replicas of a tf.distribute strategy, each of which counts its own draws.

    With JAX the step is one program over all devices, which draws for the whole batch.
    """

    def next(self, ordered=True):
        """Return the seed of the next draw, int [2]."""
        seed = super().next(ordered)
        if keras.config.backend() != "tensorflow":
            return seed
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        return seed + tf.cast([REPLICA_STRIDE * replica.replica_id_in_sync_group, 0], seed.dtype)


class Augment(keras.layers.Layer):
    """Augments a batch, in this order: degradation, gain, mixup, SpecAugment. It is used in training only.

    Args:
      seed: of the draws.
      gain_db: each record becomes louder or softer by up to so many dB; 0 switches it off.
      mixup: alpha of the beta distribution that two records' shares are drawn from; 0 switches it off.
      spec_augment: whether bands and frames of log-mel are masked; raw is left alone.
      units_per_db: normalised units of 1 dB in each band of log-mel, [n_mels]; not used for raw.
      degrade: of `trainers.training.degrade`, values and random numbers -> values; None switches it off.
    """

    def __init__(
        self,
        seed: int,
        *,
        gain_db: float,
        mixup: float,
        spec_augment: bool,
        units_per_db: Sequence[float] = (),
        degrade: Callable | None = None,
    ):
        super().__init__(dtype="float32", name="augment")
        self.degrade = degrade
        self.gain_db, self.mixup, self.spec_augment = gain_db, mixup, spec_augment
        self.units_per_db = np.asarray(units_per_db, np.float32)
        self.random = ReplicaSeeds(seed)
        self.built = True

    def reseed(self, seed: int) -> None:
        """Begin the draws of a seed, below 2**31."""
        self.random.state.assign(np.array([seed, 0]))

    def call(self, values, labels):
        """Augment a batch.

        Args:
          values: float32 [batch, bands, frames] (normalised log-mel), [batch, samples] (raw) or [batch, features].
          labels: float32 [batch, classes], one-hot.

        Returns:
          (values, labels) of the same shapes; labels are soft where mixup is on.
        """
        if self.degrade:
            values = self.degrade(values, self.random)
        if self.gain_db:
            values = change_gain(values, self.random, self.gain_db, self.units_per_db)
        if self.mixup:
            values, labels = mix(values, labels, self.random, self.mixup)
        if self.spec_augment and len(values.shape) == 3:
            values = mask(values, self.random)
        return values, labels


def change_gain(values, random: keras.random.SeedGenerator, gain_db: float, units_per_db: np.ndarray):
    """Make each record louder or softer by -gain_db to gain_db, evenly distributed.

    A gain adds the same number of dB to all of a log-mel, which is `units_per_db` times as many normalised units; raw
    samples are multiplied by 10 ** (dB / 20) and clipped to [-1, 1].
    """
    db = keras.random.uniform((ops.shape(values)[0], 1), -gain_db, gain_db, dtype="float32", seed=random)
    if len(values.shape) == 3:
        return values + db[:, :, None] * units_per_db[None, :, None]
    return ops.clip(values * ops.power(10.0, db / 20), -1, 1)


def mix(values, labels, random: keras.random.SeedGenerator, alpha: float):
    """Apply mixup (Zhang et al., 2018): lambda of each record and 1 - lambda of its neighbour, labels too.

    lambda is drawn for each record from Beta(alpha, alpha). The batch is shuffled, so any neighbour is a random one.
    """
    from scipy.special import betaincinv

    quantiles = betaincinv(alpha, alpha, (np.arange(QUANTILES) + 0.5) / QUANTILES).astype(np.float32)
    drawn = keras.random.uniform((ops.shape(values)[0],), dtype="float32", seed=random)
    share = ops.take(quantiles, ops.cast(drawn * QUANTILES, "int32"))

    def blend(of):
        own = ops.reshape(share, (-1,) + (1,) * (len(of.shape) - 1))
        other = ops.roll(of, 1, axis=0)
        return other + own * (of - other)

    return blend(values), blend(labels)


def mask(values, random: keras.random.SeedGenerator):
    """Apply SpecAugment (Park et al., 2019) without its time warp: masked bands and frames become 0, the mean."""
    _, bands, frames = values.shape
    batch = ops.shape(values)[0]
    hidden_bands = _draw_masks(batch, bands, FREQUENCY_MASKS, FREQUENCY_SHARE, random)
    hidden_frames = _draw_masks(batch, frames, TIME_MASKS, TIME_SHARE, random)
    return ops.where(ops.logical_or(hidden_bands[:, :, None], hidden_frames[:, None, :]), 0.0, values)


def _draw_masks(batch, size: int, masks: int, share: float, random: keras.random.SeedGenerator):
    """Draw masks, bool [batch, size]: widths even over 0 to share * size, then even over the places that fit."""
    widest = int(share * size)
    drawn = keras.random.uniform((batch, masks, 2), dtype="float32", seed=random)
    width = ops.floor(drawn[:, :, :1] * (widest + 1))
    start = ops.floor(drawn[:, :, 1:] * (size - width + 1))
    places = ops.arange(size, dtype="float32")
    return ops.any(ops.logical_and(places >= start, places < start + width), axis=1)
