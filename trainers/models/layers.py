"""Keras layers that the models share. This module imports Keras: model files import it when they build."""

from collections.abc import Sequence
from math import gcd

import keras
import numpy as np
from keras import layers, ops

from trainers.models.spec import ModelOptions
from transforms.audio.mel import hann
from transforms.errors import UsageError

VARIANCE_FLOOR = 1e-6
"""Of the mean square: about what float32 can tell. It is relative because activations may be small altogether."""

TINY = 1e-12


def batch_norm(x: keras.KerasTensor) -> keras.KerasTensor:
    """Apply batch norm over all replicas, whose averages follow within tens of steps: small datasets have few."""
    # With JAX, a program over several devices is one, and its statistics are of the whole batch anyway.
    return layers.BatchNormalization(momentum=0.9, synchronized=keras.config.backend() == "tensorflow")(x)


def pool_moments(maps: Sequence[keras.KerasTensor], axes: tuple[int, ...]) -> keras.KerasTensor:
    """Return means and then mean squares of activations over some axes, as the features of a transfer model's front.

    Both average over windows as they do over positions: that is why mean squares and not deviations are stored.

    Each map is [batch, ..., channels]; the result float32 [batch, 2 x all channels], also for maps in half precision.
    """
    maps = [ops.cast(values, "float32") for values in maps]
    means = [ops.mean(values, axis=axes) for values in maps]
    squares = [ops.mean(ops.square(values), axis=axes) for values in maps]
    return ops.concatenate([*means, *squares], axis=-1)


def attach_head(front: keras.Model, classes: int, options: ModelOptions, *, name: str, dropout: float) -> keras.Model:
    """Build a transfer model: front, then standardised features, dropout and one dense layer.

    Args:
      front: named "front"; record batch -> moments [batch, features].
      name: of the model.
      dropout: where the options have none.

    Returns:
      record batch -> logits float32 [batch, classes], with the nested models "front" (not trainable) and "head".
    """
    front.trainable = False
    features = keras.Input(front.output_shape[1:], name="features")
    x = Standardise(dtype="float32", name="standardise")(features)
    x = layers.Dropout(options.dropout_or(dropout), dtype="float32")(x)
    logits = layers.Dense(classes, kernel_initializer="zeros", dtype="float32", name="logits")(x)
    head = keras.Model(features, logits, name="head")
    return keras.Model(front.input, head(front(front.input)), name=name)


@keras.saving.register_keras_serializable(package="fma")
class Standardise(layers.Layer):
    """Turns moments of pooled activations into standardised means and standard deviations.

    Input: float32 [batch, 2 d], d means and then d mean squares. Output: float32 [batch, 2 d], d means and then d
    standard deviations, each shifted and scaled to mean 0 and variance 1 over the features given to `set_from`; before
    that they are left as they are. Shift and scale are weights that are not trained.
    """

    def build(self, input_shape):
        width = input_shape[-1]
        self.shift = self.add_weight(shape=(width,), initializer="zeros", trainable=False, name="shift")
        self.scale = self.add_weight(shape=(width,), initializer="ones", trainable=False, name="scale")

    def call(self, moments):
        return (_to_deviations(ops.cast(moments, "float32")) - self.shift) * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape

    def set_from(self, moments: np.ndarray) -> None:
        """Set shift and scale from training features, float32 [examples, 2 d]; a constant column is scaled by 1."""
        parts, count = np.array_split(moments, len(moments) // 4096 + 1), len(moments)

        def total(of) -> np.ndarray:  # part by part: the features may be a large share of the memory
            return sum(of(ops.convert_to_numpy(_to_deviations(part)).astype(np.float64)).sum(axis=0) for part in parts)

        mean = total(lambda values: values) / count
        deviation = np.sqrt(total(lambda values: np.square(values - mean)) / count)
        varies = deviation > VARIANCE_FLOOR * np.abs(mean) + TINY
        self.shift.assign(mean.astype(np.float32))
        self.scale.assign((1 / np.where(varies, deviation, 1)).astype(np.float32))


def _to_deviations(moments):
    mean, square = ops.split(moments, 2, axis=-1)
    # Rounding can make the difference negative; the floor also keeps the root's slope finite at 0.
    variance = ops.maximum(square - ops.square(mean), 0) + VARIANCE_FLOOR * square + TINY
    return ops.concatenate([mean, ops.sqrt(variance)], axis=-1)


@keras.saving.register_keras_serializable(package="fma", name="OverCrops")
class MultiCrop(layers.Layer):
    """Runs a network on crops of a signal: one random crop in training, fixed crops in inference.

    Input: float32 [batch, samples]. Output: float32 [batch, classes]: in training the network's logits for the crop,
    else the mean of the crops' log-probabilities, or of their logits where each class is a question of its own. All
    shapes are static for a static batch.

    Args:
      network: [batch, size, 1] -> logits [batch, classes].
      size: samples in a crop.
      crops: number of fixed crops, spread evenly from the signal's first sample to its last.
      seed: of the random crops.
      many: whether a signal may have many of the classes.
    """

    def __init__(self, network, size: int, crops: int, seed: int, *, many: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.network, self.size, self.crops, self.seed, self.many = network, size, crops, seed, many
        self.random = keras.random.SeedGenerator(seed)

    def call(self, signal, training=False):
        if training:
            return self.network(self._random_crop(signal)[..., None], training=True)
        return self.combine(self.network(self.fixed_crops(signal), training=False))

    def fixed_crops(self, signal):
        """Return the network's input [crops * batch, size, 1], crop after crop, for float32 [batch, samples]."""
        starts = np.linspace(0, signal.shape[1] - self.size, self.crops).round().astype(int)
        return ops.concatenate([signal[:, start : start + self.size] for start in starts], axis=0)[..., None]

    def combine(self, logits):
        """Return the output for the network's logits for the fixed crops, [crops * batch, classes]."""
        logits = ops.cast(logits, "float32")
        return self.mean(logits if self.many else ops.log_softmax(logits))

    def mean(self, by_crop):
        """Average the network's output for the fixed crops, [crops * batch, n], over them: [batch, n]."""
        return ops.mean(ops.reshape(by_crop, (self.crops, -1, by_crop.shape[-1])), axis=0)

    def _random_crop(self, signal):
        span = signal.shape[1] - self.size + 1
        start = ops.floor(keras.random.uniform((ops.shape(signal)[0], 1), 0, span, dtype="float32", seed=self.random))
        # A uniform float32 can be rounded up to its upper end.
        start = ops.minimum(ops.cast(start, "int32"), span - 1)
        return ops.take_along_axis(signal, start + ops.arange(self.size, dtype="int32"), axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.network.output_shape[-1])

    def get_config(self):
        config = {"size": self.size, "crops": self.crops, "seed": self.seed} | ({"many": True} if self.many else {})
        return super().get_config() | config | {"network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network=network, **config)


MultiCrop.__name__ = "OverCrops"
"""Its first name: Keras files a layer's weights under the name of its class, so saved models have this one."""


@keras.saving.register_keras_serializable(package="fma")
class MelImage(layers.Layer):
    """float32 [batch, n_mels, frames] -> images float32 [batch, size, size, 3] in [-1, 1], all three colours alike.

    Each image gets mean 0 and deviation 1 / contrast before it is clipped: loudness then does not matter, and the range
    is used alike by quiet and by loud windows. Another size is reached by `resize_matrix` on both axes: plain products,
    because TensorFlow's anti-aliased resize does not compile under XLA.
    """

    def __init__(self, size: int, contrast: float, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.size, self.contrast = size, contrast

    def call(self, mel):
        mean, variance = ops.moments(mel, axes=(1, 2), keepdims=True)
        image = ops.clip((mel - mean) / (self.contrast * ops.sqrt(variance + 1e-4)), -1, 1)
        bands, frames = mel.shape[1:]
        if bands != self.size:
            image = ops.matmul(resize_matrix(bands, self.size), image)
        if frames != self.size:
            image = ops.matmul(image, resize_matrix(frames, self.size).T)
        return ops.repeat(image[..., None], 3, axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.size, self.size, 3)

    def get_config(self):
        return super().get_config() | {"size": self.size, "contrast": self.contrast}


def resize_matrix(old: int, new: int) -> np.ndarray:
    """Return linear interpolation from `old` to `new` values, anti-aliased where there are fewer: float32 [new, old].

    Row i weighs the old values by a triangle around the centre of new value i, as wide as the larger of the two steps;
    rows sum to 1.
    """
    centre = (np.arange(new)[:, None] + 0.5) * old / new - 0.5
    weights = np.maximum(0, 1 - np.abs(centre - np.arange(old)) / max(1.0, old / new))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


YAMNET_RATE = 16_000
FRAME, HOP, FFT = 400, 160, 512
BANDS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7_500.0
LOG_OFFSET = 0.001
PATCH, PATCH_HOP = 96, 48
PATCH_SAMPLES = (PATCH - 1) * HOP + FRAME
LARGEST_KERNEL = 1 << 24
ZERO_CROSSINGS, KAISER_BETA, ROLLOFF = 64, 7.0, 0.965
"""Flat to 7.4 kHz, where YAMNet's last band is, and 70 dB down from 8 kHz on."""


def resampling_kernel(rate: int, target: int) -> np.ndarray:
    """Return polyphase windowed-sinc filters from one sample rate to another, in Hz.

    With both rates divided by their greatest common divisor to `down` and `up`, every `down` input samples give `up`
    output samples, one for each filter. A filter is a sinc at `ROLLOFF` of the lower Nyquist frequency under a Kaiser
    window of `ZERO_CROSSINGS` crossings to either side, scaled to sum to 1 (Smith, "Digital Audio Resampling").

    Returns:
      float32 [down + 2 margin, 1, up]: the kernel of a convolution with stride `down` over a signal with `margin`
      zeros before it.
    """
    up, down = target // gcd(rate, target), rate // gcd(rate, target)
    cutoff = ROLLOFF * min(1.0, target / rate)
    margin = int(np.ceil(ZERO_CROSSINGS / cutoff))
    distance = np.arange(-margin, down + margin)[:, None] - np.arange(up) * down / up
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (distance * cutoff / ZERO_CROSSINGS) ** 2, 0, 1)))
    inside = np.abs(distance * cutoff) <= ZERO_CROSSINGS
    kernel = np.where(inside, np.sinc(distance * cutoff) * window, 0)
    return (kernel / kernel.sum(axis=0)).astype(np.float32)[:, None, :]


def resampling_size(rate: int, target: int) -> int:
    """Return about how many numbers `resampling_kernel` has: rates without a common divisor make it huge."""
    return (rate // gcd(rate, target)) * (target // gcd(rate, target))


def mel_matrix() -> np.ndarray:
    """Return YAMNet's mel filters, float32 [257, 64]: triangles on the HTK scale, 1127 ln(1 + f / 700), without DC."""

    def mel(hz):
        return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)

    bins = mel(np.linspace(0, YAMNET_RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    matrix = np.maximum(0, np.minimum(rising, falling))
    matrix[0] = 0
    return matrix.astype(np.float32)


@keras.saving.register_keras_serializable(package="fma")
class Resample(layers.Layer):
    """float32 [batch, samples] at `rate` Hz -> float32 [batch, ceil(samples * target / rate)] at `target` Hz."""

    def __init__(self, rate: int, target: int = YAMNET_RATE, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.rate, self.target = rate, target
        self.kernel = resampling_kernel(rate, target)

    def call(self, signal):
        if self.rate == self.target:
            return signal
        width, _, up = self.kernel.shape
        down = self.rate // gcd(self.rate, self.target)
        samples, blocks = signal.shape[1], -(-signal.shape[1] // down)
        margin = (width - down) // 2
        padded = ops.pad(signal, [[0, 0], [margin, blocks * down - samples + margin]])
        resampled = ops.conv(padded[..., None], self.kernel, strides=down, padding="valid")
        return ops.reshape(resampled, (-1, blocks * up))[:, : self._length(samples)]

    def _length(self, samples):
        return -(-samples * self.target // self.rate)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self._length(input_shape[1]))

    def get_config(self):
        return super().get_config() | {"rate": self.rate, "target": self.target}


def resample(windows: keras.KerasTensor, rate: int, target: int, model: str) -> keras.KerasTensor:
    """Return windows [batch, samples] at `rate` Hz at another rate, for a model of that name.

    Raises:
      UsageError: the rates have next to no common divisor.
    """
    if resampling_size(rate, target) > LARGEST_KERNEL:
        raise UsageError(f"{model} cannot resample from {rate} Hz: ingest with --sample-rate 22050, 16000 or 44100")
    return Resample(rate, target, name="resample")(windows)


@keras.saving.register_keras_serializable(package="fma")
class LogMelPatches(layers.Layer):
    """YAMNet's input: float32 [batch, samples] at 16 kHz -> log-mel patches float32 [batch, patches, 96, 64].

    Frames of 25 ms every 10 ms under a periodic Hann window, magnitudes through the mel matrix, log(x + 0.001); patches
    of 96 frames every 48. A signal that is too short for one patch is padded with silence.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.window, self.matrix = hann(FRAME), mel_matrix()

    def call(self, signal):
        samples, patches = signal.shape[1], count_patches(signal.shape[1])
        frames = (patches - 1) * PATCH_HOP + PATCH
        if samples < PATCH_SAMPLES:
            signal = ops.pad(signal, [[0, 0], [0, PATCH_SAMPLES - samples]])
        magnitude = ops.sqrt(power_spectra(signal, self.window, HOP, frames, FFT))
        log_mel = ops.log(ops.matmul(magnitude, self.matrix) + LOG_OFFSET)
        return cut_patches(log_mel, np.arange(patches) * PATCH_HOP, PATCH)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], count_patches(input_shape[1]), PATCH, BANDS)


def power_spectra(signal, window: np.ndarray, hop: int, frames: int, n_fft: int):
    """Return the power spectra of frames of a signal [batch, samples], every `hop` samples from its first on.

    Returns:
      float32 [batch, frames, n_fft // 2 + 1].
    """
    framed = ops.take(signal, np.arange(frames)[:, None] * hop + np.arange(len(window)), axis=1)
    real, imaginary = ops.rfft(framed * window, fft_length=n_fft)
    return ops.square(real) + ops.square(imaginary)


def cut_patches(frames, starts: np.ndarray, size: int):
    """Cut [batch, frames, bands] into patches of `size` frames that begin at `starts`: [batch, starts, size, bands]."""
    return ops.take(frames, starts[:, None] + np.arange(size), axis=1)


def count_patches(samples: int) -> int:
    """Count the patches in a signal at 16 kHz, at least one."""
    frames = (max(samples, PATCH_SAMPLES) - FRAME) // HOP + 1
    return (frames - PATCH) // PATCH_HOP + 1
