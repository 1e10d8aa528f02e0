"""YAMNet's front end as Keras layers with static shapes: resampling, log-mel patches. Imports Keras."""

from math import gcd

import keras
import numpy as np
from keras import ops

YAMNET_RATE = 16_000
FRAME, HOP, FFT = 400, 160, 512
BANDS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7_500.0
LOG_OFFSET = 0.001
PATCH, PATCH_HOP = 96, 48
PATCH_SAMPLES = (PATCH - 1) * HOP + FRAME
ZERO_CROSSINGS, KAISER_BETA, ROLLOFF = 64, 7.0, 0.965
"""Flat to 7.4 kHz, where YAMNet's last band is, and 70 dB down from 8 kHz on."""


def resampling_kernel(rate: int, target: int) -> np.ndarray:
    """Polyphase windowed-sinc filters from one sample rate to another.

    With both rates divided by their greatest common divisor to `down` and `up`, every `down` input samples give `up`
    output samples, one for each filter. A filter is a sinc at `ROLLOFF` of the lower Nyquist frequency under a Kaiser
    window of `ZERO_CROSSINGS` crossings to either side, scaled to sum to 1 (Smith, "Digital Audio Resampling").

    Args:
      rate, target: Hz.

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
    """About how many numbers `resampling_kernel` has: rates without a common divisor make it huge."""
    return (rate // gcd(rate, target)) * (target // gcd(rate, target))


def mel_matrix() -> np.ndarray:
    """YAMNet's mel filters, float32 [257, 64]: triangles on the HTK scale, 1127 ln(1 + f / 700), without the DC bin."""

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
class Resample(keras.layers.Layer):
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


@keras.saving.register_keras_serializable(package="fma")
class LogMelPatches(keras.layers.Layer):
    """YAMNet's input: float32 [batch, samples] at 16 kHz -> log-mel patches float32 [batch, patches, 96, 64].

    Frames of 25 ms every 10 ms under a periodic Hann window, magnitudes through the mel matrix, log(x + 0.001); patches
    of 96 frames every 48. A signal that is too short for one patch is filled up with silence.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
        self.matrix = mel_matrix()

    def call(self, signal):
        samples, patches = signal.shape[1], count_patches(signal.shape[1])
        frames = (patches - 1) * PATCH_HOP + PATCH
        if samples < PATCH_SAMPLES:
            signal = ops.pad(signal, [[0, 0], [0, PATCH_SAMPLES - samples]])
        framed = ops.take(signal, np.arange(frames)[:, None] * HOP + np.arange(FRAME), axis=1)
        real, imaginary = ops.rfft(framed * self.window, fft_length=FFT)
        magnitude = ops.sqrt(ops.square(real) + ops.square(imaginary))
        log_mel = ops.log(ops.matmul(magnitude, self.matrix) + LOG_OFFSET)
        return ops.take(log_mel, np.arange(patches)[:, None] * PATCH_HOP + np.arange(PATCH), axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], count_patches(input_shape[1]), PATCH, BANDS)


def count_patches(samples: int) -> int:
    """Patches in a signal at 16 kHz, at least one."""
    frames = (max(samples, PATCH_SAMPLES) - FRAME) // HOP + 1
    return (frames - PATCH) // PATCH_HOP + 1
