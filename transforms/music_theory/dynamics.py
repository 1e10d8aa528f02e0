"""Loudness and its range, and how much of a track is percussion, from its frames."""

import numpy as np

from transforms.music_theory.frames import Frames, add_blocks

FLOOR_DB = -80.0  # of full scale: nothing counts as quieter
LOUD, QUIET = 95, 10  # percentiles of the level that span the dynamic range
MOST_DB = 60.0  # of harmonic over percussive energy, where there is hardly one or the other


def dynamics(frames: Frames, peak: float) -> dict[str, float]:
    """Return the columns `DYNAMICS`; `peak` is the track's largest absolute sample."""
    levels = _levels(frames.power.astype(np.float64), peak)
    return levels | _percussion(frames.harmonic.astype(np.float64), frames.percussive.astype(np.float64))


def _levels(power: np.ndarray, peak: float) -> dict[str, float]:
    level = decibels(power)
    blocks = decibels(add_blocks(power) / add_blocks(np.ones(len(power))))
    amplitude = np.sqrt(power)
    return {
        "level_mean_db": level.mean(),
        "level_deviation_db": level.std(),
        "level_change_db": np.abs(np.diff(blocks)).mean() if len(blocks) > 1 else 0.0,
        "dynamic_range_db": np.subtract(*np.percentile(level, [LOUD, QUIET])),
        "crest_factor_db": float(decibels(np.asarray(peak, np.float64) ** 2) - decibels(power.mean())),
        "quiet_share": (amplitude < 0.5 * amplitude.mean()).mean(),
    }


def decibels(power: np.ndarray) -> np.ndarray:
    """Return the level of a mean square in dB of full scale, at least `FLOOR_DB`."""
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def _percussion(harmonic: np.ndarray, percussive: np.ndarray) -> dict[str, float]:
    """Compare the energies [frames, 3] of bass, middle and treble."""
    lasting, struck = harmonic.sum(axis=0), percussive.sum(axis=0)
    bass, middle, treble = _share(struck, lasting)
    over_time = _share(add_blocks(percussive).sum(axis=1), add_blocks(harmonic).sum(axis=1))
    share = float(_share(struck.sum(), lasting.sum()))
    least = 10 ** (-MOST_DB / 10)
    audible = lasting.sum() + struck.sum() > 0
    return {
        "percussive_share": share,
        "percussive_share_deviation": over_time.std(),
        "percussive_share_of_bass": bass,
        "percussive_share_of_middle": middle,
        "percussive_share_of_treble": treble,
        "harmonic_to_percussive_db": 10 * np.log10(max(1 - share, least) / max(share, least)) if audible else 0.0,
        "bass_share_of_harmonic": float(_share(lasting[0], lasting[1:].sum())),
        "treble_share_of_harmonic": float(_share(lasting[2], lasting[:2].sum())),
    }


def _share(part: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return part / (part + rest), 0 where both are 0."""
    total = np.asarray(part + rest)
    return np.divide(part, total, out=np.zeros(total.shape), where=total > 0)
