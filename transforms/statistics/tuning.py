"""How far a recording is tuned from A440, from the peaks of its spectrogram.

The estimate is that of librosa's `estimate_tuning`: peaks between 150 Hz and 4 kHz above a tenth of the frame's
maximum, their pitch by a parabola through three bins, the stronger half of them, and the fullest of 100 bins of a
semitone. FMA's features use it twice on one spectrogram: on magnitudes for the constant-Q transform, on power for the
chroma.
"""

import numpy as np

THRESHOLD = 0.1
FMIN, FMAX = 150.0, 4000.0


class SpectralPeaks:
    """Collects the peaks of a magnitude spectrogram chunk by chunk.

    Args:
      n_fft: FFT length.
      rates: sample rates in Hz by which estimates will be asked for; they set the bins that are looked at.
    """

    def __init__(self, n_fft: int, rates: tuple[int, ...]):
        self._n_fft = n_fft
        ranges = [pitch_range(n_fft, rate) for rate in rates]
        self._low, self._high = min(low for low, _ in ranges), max(high for _, high in ranges)
        self._found: list[np.ndarray] = []

    def push(self, magnitude: np.ndarray) -> None:
        """Adds float32 [frames, n_fft // 2 + 1]."""
        loudest = magnitude.max(axis=1)
        inside = magnitude[:, self._low : self._high]
        is_peak = inside > (np.float32(THRESHOLD) * loudest)[:, np.newaxis]
        is_peak &= inside > magnitude[:, self._low - 1 : self._high - 1]
        is_peak &= inside >= magnitude[:, self._low + 1 : self._high + 1]
        frame, column = np.divmod(np.flatnonzero(is_peak), self._high - self._low)
        column += self._low
        at = frame * magnitude.shape[1] + column
        flat = magnitude.reshape(-1)
        self._found.append(np.stack([column.astype(np.float32), flat[at - 1], flat[at], flat[at + 1], loudest[frame]]))

    def tuning(self, rate: int, power: bool) -> float:
        """The deviation in semitones, -0.5 to 0.49 in steps of 0.01; 0 where there are no peaks.

        Args:
          rate: sample rate in Hz by which bins are given a pitch.
          power: look at squared magnitudes; squares rise with magnitudes, so they have the same peaks, and fewer of
            them above a tenth of the maximum.
        """
        found = np.concatenate(self._found, axis=1)
        low, high = pitch_range(self._n_fft, rate)
        found = found[:, (found[0] >= low) & (found[0] < high)]
        if power:
            found[1:] *= found[1:]
            found = found[:, found[2] > np.float32(THRESHOLD) * found[4]]
        if not found.shape[1]:
            return 0.0
        column, below, peak, above, _ = found
        shift = parabola_shift(below, peak, above)
        pitch = ((column.astype(np.float64) + shift) * float(rate) / self._n_fft).astype(np.float32)
        strength = peak + np.float32(0.5) * ((above - below) / np.float32(2)) * shift
        return fullest_deviation(pitch[strength >= np.median(strength)])


def pitch_range(n_fft: int, rate: int) -> tuple[int, int]:
    """First bin that counts as a pitch, and the one after the last."""
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    inside = np.flatnonzero((bins >= FMIN) & (bins < min(FMAX, rate / 2)))
    return int(inside[0]), int(inside[-1]) + 1


def parabola_shift(below: np.ndarray, peak: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Where the parabola through three neighbours has its top, in bins from the middle one: float32.

    In float64 where librosa is, so that a pitch at the edge of a histogram bin falls on the same side; 0 where rounding
    leaves no curvature to speak of.
    """
    slope = (above - below).astype(np.float64) / 2
    curvature = (above + below) - 2 * peak.astype(np.float64)
    flat = np.abs(slope) >= np.abs(curvature)
    return np.where(flat, 0.0, -slope / np.where(flat, 1.0, curvature)).astype(np.float32)


def fullest_deviation(pitches: np.ndarray) -> float:
    """The most frequent deviation of pitches (Hz, float32 [n]) from the semitones of A440, in semitones."""
    deviation = np.mod(12 * np.log2(pitches / 27.5), 1.0)
    deviation[deviation >= 0.5] -= 1.0
    counts, edges = np.histogram(deviation, np.linspace(-0.5, 0.5, 101))
    return float(edges[np.argmax(counts)])
