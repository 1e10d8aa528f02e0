"""musicnn as a Keras network, and the spectrogram that it hears. Imports Keras."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from trainers.models.layers import cut_patches, power_spectra
from transforms.audio.mel import hann, mel_filters

RATE, N_FFT, HOP, BANDS = 16_000, 512, 256, 96
PATCH = 187  # frames, 3 s
PATCH_SAMPLES = (PATCH - 1) * HOP + N_FFT
COMPRESSION = 10_000

FRONT = (
    (204, (7, 38), "valid"),
    (204, (7, 67), "valid"),
    (51, (128, 1), "same"),
    (51, (64, 1), "same"),
    (51, (32, 1), "same"),
)
"""The first convolutions side by side: filters, kernel [frames, bands], padding over the bands. The wide ones hear
timbre wherever it lies in pitch, the long ones the rhythm of each band."""

MIDDLE = (5, 6, 7)  # numbers of the convolutions over time
SEES = 7  # frames that each of them, and the wide ones of the front, cover
CHANNELS, UNITS, TAGS = 64, 200, 50
POOLED = sum(filters for filters, _, _ in FRONT) + len(MIDDLE) * CHANNELS


class MusicnnPatches(layers.Layer):
    """musicnn's input: float32 [batch, samples] at 16 kHz -> float32 [batch, patches, 187, 96].

    log10(1 + 10000 power) of Slaney mel bands of frames of 32 ms every 16 ms, as librosa.feature.melspectrogram(y,
    sr=16000, n_fft=512, hop_length=256, n_mels=96, center=False). The fewest patches that cover all frames, evenly
    spread. A signal that is too short for one is padded with silence.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.window, self.matrix = hann(N_FFT), mel_filters(RATE, N_FFT, BANDS).T

    def call(self, signal):
        if (missing := PATCH_SAMPLES - signal.shape[1]) > 0:
            signal = ops.pad(signal, [[0, 0], [0, missing]])
        frames = (signal.shape[1] - N_FFT) // HOP + 1
        power = ops.matmul(power_spectra(signal, self.window, HOP, frames, N_FFT), self.matrix)
        starts = np.rint(np.linspace(0, frames - PATCH, -(-frames // PATCH))).astype(int)
        return cut_patches(ops.log10(1 + COMPRESSION * power), starts, PATCH)


class ByWindow(layers.Layer):
    """Runs the network on the patches of one window after the other: float32 [batch, patches, 187, 96] ->
    {output: float32 [batch, patches, n]}.

    The first convolutions of a patch fill 9 MB each, so that a batch of windows at once would fill gigabytes.
    """

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.network = network

    def call(self, patches):
        return ops.map(self.network, patches)


def build_network() -> keras.Model:
    """Build the network, untrained: patches float32 [batch, 187, 96] -> {output: float32 [batch, n]}.

    It computes in float32 whatever the dtype policy: its inputs are logarithms of a wide range.

    After J. Pons and X. Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019. Its
    layers have the names of the variables in the published checkpoints.
    """
    relu: dict[str, Any] = {"activation": "relu", "dtype": "float32"}
    patches = keras.Input((PATCH, BANDS), dtype="float32", name="patches")
    image = _normalise(patches[..., None], 0)
    padded = layers.ZeroPadding2D((SEES // 2, 0), dtype="float32")(image)  # in time alone
    front = []
    for number, (filters, kernel, padding) in enumerate(FRONT):
        convolve = layers.Conv2D(filters, kernel, padding=padding, **relu, name=_name("conv2d", number))
        maps = convolve(padded if padding == "valid" else image)
        front.append(ops.max(_normalise(maps, number + 1), axis=2))
    features = [ops.concatenate(front, axis=-1)]
    for number in MIDDLE:
        convolve = layers.Conv1D(CHANNELS, SEES, padding="same", **relu, name=_name("conv2d", number))
        found = _normalise(convolve(features[-1]), number + 1)
        features.append(found if number == MIDDLE[0] else found + features[-1])
    over_time = ops.concatenate(features, axis=-1)
    highest, mean = ops.max(over_time, axis=1), ops.mean(over_time, axis=1)
    pooled = ops.reshape(ops.stack([highest, mean], axis=-1), (-1, 2 * POOLED))
    hidden = layers.Dense(UNITS, **relu, name="dense")(_normalise(pooled, 9))
    penultimate = _normalise(hidden, 10)
    tags = layers.Dense(TAGS, dtype="float32", name="dense_1")(penultimate)
    outputs = {"tags": tags, "penultimate": penultimate, "max": highest, "mean": mean}
    return keras.Model(patches, outputs, name="musicnn")


def _normalise(values: keras.KerasTensor, number: int) -> keras.KerasTensor:
    return layers.BatchNormalization(dtype="float32", name=_name("batch_normalization", number))(values)


def _name(kind: str, number: int) -> str:
    """Return how TensorFlow 1 named the layers of a kind: conv2d, conv2d_1, conv2d_2."""
    return f"{kind}_{number}" if number else kind
