"""Tempo, beat and onsets of a track, from its onset strength by frame: librosa's tempo, beat tracker and peaks.

The tempogram is librosa's, the autocorrelation of the onset strength within 9 s, but for three things: there is one
column for each second and not for each frame, since an hour would take half a gigabyte; the mean is taken off first;
and it is divided by the window's own autocorrelation, so that a steady pulse is 1 at each multiple of its period.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from librosa import beat, feature, onset, util

from transforms.music_theory.frames import FRAMES_PER_SECOND, FRAMING

LEAST = 0.2  # dB: less is the beating of a sustained chord, and no onset
WINDOW = 384  # frames, 8.9 s
CHUNK = 256  # columns that are computed at once
STEP = 43  # frames from one column to the next, 1 s
BLUR = (0.25, 0.5, 0.25)  # so that a period between two lags is no weaker than one that is a lag
LAGS = 256  # frames, 5.9 s: four beats at 41 beats a minute, and more
SHORTEST = 86  # frames: in less than 2 s there is no beat
SAME_TEMPO = np.log2(1.08)  # octaves: between 200 beats a minute and the next lag there are 8%
PULSES = {
    "quarter_of_beat": 1 / 4,
    "third_of_beat": 1 / 3,
    "half_of_beat": 1 / 2,
    "two_beats": 2.0,
    "three_beats": 3.0,
    "four_beats": 4.0,
}
TEMPO_EDGES = (30, 45, 60, 90, 120, 180, 240, 360)  # beats a minute
RATES: dict[str, Any] = {"sr": FRAMING.sample_rate, "hop_length": FRAMING.hop_length}


def rhythm(strength: np.ndarray) -> dict[str, float]:
    """Return the columns `RHYTHM` of onset strength float32 [frames]."""
    strength = np.where(strength < LEAST, 0.0, strength.astype(np.float64))
    columns = tempogram(strength)
    return _beats(strength, columns) | _pulse(columns) | _onsets(strength)


def tempogram(strength: np.ndarray) -> np.ndarray:
    """Return the autocorrelation of windows of [frames]: float64 [LAGS, seconds], not negative, about 1 at most."""
    padded = np.pad(np.convolve(strength, BLUR, mode="same")[: len(strength)], WINDOW // 2)
    inside = np.pad(np.ones(len(strength)), WINDOW // 2)
    passages, within = (util.frame(whole, frame_length=WINDOW, hop_length=STEP) for whole in (padded, inside))
    chunks = [slice(start, start + CHUNK) for start in range(0, passages.shape[1], CHUNK)]
    return np.concatenate([_autocorrelate(passages[:, chunk], within[:, chunk]) for chunk in chunks], axis=1)


def _autocorrelate(passages: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return a chunk of the tempogram; `inside` is 1 where passages [WINDOW, n] have a frame of the track, else 0."""
    weight = inside * np.hanning(WINDOW)[:, np.newaxis]
    mean = (passages * weight).sum(axis=0) / weight.sum(axis=0)
    found, scale = _autocorrelation((passages - mean) * weight), _autocorrelation(weight)
    found = np.divide(found, scale, out=np.zeros_like(found), where=scale > 0.05 * scale[:1])
    found = np.divide(found, found[:1], out=np.zeros_like(found), where=found[:1] > 0)
    return np.clip(found, 0, 1)


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(frames, 2 * WINDOW, axis=0)
    return np.fft.irfft(spectrum.real**2 + spectrum.imag**2, axis=0)[:LAGS]


def _beats(strength: np.ndarray, columns: np.ndarray) -> dict[str, float]:
    mean = columns.mean(axis=1)
    frames = np.empty(0, np.int64)
    if len(strength) >= SHORTEST and mean[1:].any():
        (guess,) = feature.tempo(tg=columns, **RATES)
        # Not trimmed: there librosa's loop has no end where all beats are equally strong.
        _, frames = beat.beat_track(onset_envelope=strength, bpm=guess, trim=False, **RATES)
    if len(frames) < 3:
        names = ("tempo_bpm", "tempo_stability", "beat_interval_deviation", "beat_strength", "beat_strength_deviation")
        return dict.fromkeys((*names, "pulse_clarity", *(f"pulse_at_{name}" for name in PULSES)), 0.0)
    intervals = np.diff(frames)
    period = intervals.mean()
    tempo = 60 * FRAMES_PER_SECOND / period
    local = feature.tempo(tg=columns, aggregate=None, **RATES)
    near = np.stack([strength[np.clip(frames + shift, 0, len(strength) - 1)] for shift in (-1, 0, 1)]).max(axis=0)
    near /= strength.mean()
    found = {
        "tempo_bpm": tempo,
        "tempo_stability": (np.abs(np.log2(local / tempo)) <= SAME_TEMPO).mean(),
        "beat_interval_deviation": intervals.std() / period,
        "beat_strength": near.mean(),
        "beat_strength_deviation": near.std(),
        "pulse_clarity": _at(mean, period),
    }
    return found | {f"pulse_at_{name}": _at(mean, period * beats) for name, beats in PULSES.items()}


def _at(mean: np.ndarray, lag: float) -> float:
    """Return the tempogram's largest value within a frame of a lag; 0 beyond the last one."""
    return float(np.interp([lag - 0.5, lag, lag + 0.5], np.arange(LAGS), mean, right=0.0).max())


def _pulse(columns: np.ndarray) -> dict[str, float]:
    tempi = np.append(np.inf, 60 * FRAMES_PER_SECOND / np.arange(1, LAGS))
    mean = columns.mean(axis=1)
    found = {
        f"pulse_{low}_to_{high}_bpm": float(mean[(tempi >= low) & (tempi < high)].mean())
        for low, high in pairwise(TEMPO_EDGES)
    }
    entropy = normalized_entropy(columns[(tempi >= TEMPO_EDGES[0]) & (tempi < TEMPO_EDGES[-1])].T)
    return found | {"pulse_entropy": entropy.mean(), "pulse_entropy_deviation": entropy.std()}


def normalized_entropy(rows: np.ndarray) -> np.ndarray:
    """Return the entropy of each row's shares as a share of the largest possible: float64 [rows]; 0 for rows of 0."""
    total = rows.sum(axis=1, keepdims=True)
    shares = np.divide(rows, total, out=np.zeros(rows.shape), where=total > 0)
    logarithms = np.log(shares, out=np.zeros(rows.shape), where=shares > 0)
    return np.abs((shares * logarithms).sum(axis=1)) / np.log(rows.shape[1])


def _onsets(strength: np.ndarray) -> dict[str, float]:
    frames = onset.onset_detect(onset_envelope=strength, **RATES)
    intervals = np.diff(frames)
    mean, deviation = strength.mean(), strength.std()
    third = ((strength - mean) ** 3).mean()
    return {
        "onsets_per_second": len(frames) * FRAMES_PER_SECOND / len(strength),
        "onset_interval_deviation": float(intervals.std() / intervals.mean()) if len(intervals) else 0.0,
        "onset_strength_mean": mean,
        "onset_strength_deviation": deviation,
        "onset_strength_skew": float(third / deviation**3) if deviation > 1e-6 * mean else 0.0,
    }
