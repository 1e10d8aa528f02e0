"""Names of the 518 statistics, in the column order of FMA's features.csv.

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
FRAME_COLUMNS = frame_columns()
