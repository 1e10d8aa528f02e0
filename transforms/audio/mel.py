"""Log-mel spectrograms, with librosa's values in less than half its time.

Slaney mel bands on the power spectrogram of a centred, periodic-Hann STFT, in dB re 1.0 with a floor of 1e-10, as
`librosa.power_to_db(librosa.feature.melspectrogram(y, ...), ref=1.0, top_db=None)`.
"""

import numpy as np
import scipy.fft

AMIN = 1e-10  # smallest power before the logarithm (librosa's `amin`): -100 dB
_CHUNK = 128


def mel_to_hz(mels: np.ndarray) -> np.ndarray:
    """Convert by Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz (15 mel), then 27 mel for a factor 6.4."""
    linear = np.asarray(mels, np.float64) * (200.0 / 3)
    return np.where(mels < 15, linear, 1000.0 * np.exp((mels - 15) * (np.log(6.4) / 27)))


def hz_to_mel(hz: float) -> float:
    """Invert `mel_to_hz`."""
    return hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) / (np.log(6.4) / 27)


def band_edges(sample_rate: int, n_mels: int) -> np.ndarray:
    """Return where the bands from 0 Hz to half the sample rate begin and end, in Hz, float64 [n_mels + 2].

    Band i reaches from edge i to edge i + 2, and has its centre at edge i + 1.
    """
    return mel_to_hz(np.linspace(0.0, hz_to_mel(sample_rate / 2), n_mels + 2))


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Return triangular bands from 0 Hz to half the sample rate, each of area 1 (Slaney's normalisation).

    Returns:
      float32 [n_mels, n_fft // 2 + 1], equal to librosa.filters.mel.
    """
    edges = band_edges(sample_rate, n_mels)
    bins = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    width = np.diff(edges)[:, None]
    ramps = edges[:, None] - bins
    rising, falling = -ramps[:-2] / width[:-1], ramps[2:] / width[1:]
    weights = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return weights * (2.0 / (edges[2:] - edges[:-2]))[:, None].astype(np.float32)


def hann(size: int) -> np.ndarray:
    """Return a periodic Hann window, float32 [size]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


class LogMel:
    """A computer of log-mel frames for any number of tracks; the arguments are those of `DatasetConfig`.

    The mel matrix is mostly zeros, so it is applied as a few dense blocks, each over the bins that its bands touch;
    frames are processed in chunks that fit the cache.
    """

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, n_mels: int):
        self.n_fft, self.hop_length, self.n_mels = n_fft, hop_length, n_mels
        self._window = hann(n_fft)
        self._blocks = banded(mel_filters(sample_rate, n_fft, n_mels))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Compute log-mel of the whole frames of the signal; pad it by n_fft // 2 on each side for a centred STFT.

        Args:
          samples: float32 [n], n >= n_fft.

        Returns:
          float32 [(n - n_fft) // hop_length + 1, n_mels], in dB.
        """
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.n_fft)[:: self.hop_length]
        power = np.empty((len(frames), self.n_mels), np.float32)
        for start in range(0, len(frames), _CHUNK):
            chunk = frames[start : start + _CHUNK]
            self._mel_power(chunk, power[start : start + len(chunk)])
        np.maximum(power, np.float32(AMIN), out=power)
        np.log(power, out=power)
        power *= np.float32(10 / np.log(10))
        return power

    def _mel_power(self, frames: np.ndarray, out: np.ndarray) -> None:
        spectrum = scipy.fft.rfft(frames * self._window, axis=1).view(np.float32)
        spectrum *= spectrum
        power = spectrum[:, 0::2] + spectrum[:, 1::2]
        for rows, bins, weights in self._blocks:
            np.matmul(power[:, bins], weights, out=out[:, rows])


def banded(weights: np.ndarray, blocks: int = 8) -> list[tuple[slice, slice, np.ndarray]]:
    """Cut a mostly empty matrix [rows, columns] into dense blocks of rows, each over the columns that they touch.

    Returns:
      (rows, columns, weights [columns, rows]) of each block.
    """
    cut = []
    for rows in np.array_split(np.arange(len(weights)), min(blocks, len(weights))):
        touched = np.flatnonzero(weights[rows].any(axis=0))
        columns = slice(int(touched[0]), int(touched[-1]) + 1) if len(touched) else slice(0, 1)
        block = slice(int(rows[0]), int(rows[-1]) + 1)
        cut.append((block, columns, np.ascontiguousarray(weights[block, columns].T)))
    return cut


def quantize(log_mel: np.ndarray, db_min: float, db_step: float) -> np.ndarray:
    """Convert dB to uint8 steps above db_min, rounded to the nearest, with clipping."""
    steps = (log_mel - np.float32(db_min)) * np.float32(1 / db_step)
    return np.clip(np.rint(steps, out=steps), 0, 255, out=steps).astype(np.uint8)


def dequantize(steps: np.ndarray, db_min: float, db_step: float) -> np.ndarray:
    """Convert uint8 steps back to dB, float32; off by at most half a step inside the range."""
    return steps.astype(np.float32) * np.float32(db_step) + np.float32(db_min)
