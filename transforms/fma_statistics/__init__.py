"""FMA's 518 statistics of a track, in FMA's column order, from a stream of samples.

The values are those of FMA's features.py (github.com/mdeff/fma) run with librosa 0.11 on the same samples, with one
argument added: bins_per_octave=12 for both chroma of the constant-Q transform, librosa's default when FMA was made. As
in that script, only zcr, the constant-Q transform and the mel bands know the sample rate; all else is in units of
22,050 Hz. librosa's definitions have moved since 2017 (its rms is now that of the samples, say), so values mean what
those in FMA's features.csv mean, but are not equal to them.

Largest difference from that reference that the tests allow, in the feature's own unit (`TOLERANCE` there); on 181 real
clips it was a fifth of it or less:

    rmse, zcr                    1e-6      spectral_contrast                                1e-4 dB
    chroma_stft                  2e-5      spectral_bandwidth, _centroid, _rolloff          0.002 Hz
    chroma_cqt                   2e-4      mfcc                                             0.005
    chroma_cens, tonnetz         0.02

Skew and kurtosis may differ by 0.002 + 0.2% instead, those of chroma_cens and tonnetz by 0.05 + 5%: CENS quantizes, so
about one frame in a million falls on the other side of a step.

FMA sorts its columns (feature, statistics, number) as strings, so features and moments are alphabetical here. The same
order of features gives the layout of a row of frame features (74 values), see `FRAME_COLUMNS`.
"""

FEATURE_SIZES = {
    "chroma_cens": 12,
    "chroma_cqt": 12,
    "chroma_stft": 12,
    "mfcc": 20,
    "rmse": 1,
    "spectral_bandwidth": 1,
    "spectral_centroid": 1,
    "spectral_contrast": 7,
    "spectral_rolloff": 1,
    "tonnetz": 6,
    "zcr": 1,
}
MOMENTS = ("kurtosis", "max", "mean", "median", "min", "skew", "std")

N_FRAME_FEATURES = sum(FEATURE_SIZES.values())


def columns() -> tuple[tuple[str, str, str], ...]:
    """Return the (feature, statistic, number) names of the 518 columns in FMA's order; numbers are "01", "02", ..."""
    return tuple(
        (feature, moment, f"{number:02d}")
        for feature, size in FEATURE_SIZES.items()
        for moment in MOMENTS
        for number in range(1, size + 1)
    )


def frame_columns() -> dict[str, slice]:
    """Return the columns of each feature in a row of frame features."""
    slices, start = {}, 0
    for feature, size in FEATURE_SIZES.items():
        slices[feature] = slice(start, start + size)
        start += size
    return slices


COLUMNS = columns()
LEVEL_COLUMNS = frozenset(
    [("rmse", moment, "01") for moment in ("max", "mean", "median", "min", "std")]
    + [("mfcc", moment, "01") for moment in ("max", "mean", "median", "min")]
)
"""Those that say how loud a track is: a gain of g multiplies them by g, or adds sqrt(128) 20 log10 g to them, the first
coefficient of the DCT of dB in 128 bands. Of all others, it changes what lies at a threshold near silence."""
FRAME_COLUMNS = frame_columns()
