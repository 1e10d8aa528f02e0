"""Feature groups: which columns of a table a model sees, named as in the FMA paper (mfcc, mfcc+contrast, ...)."""

import numpy as np

from transforms.errors import UsageError


def group_columns(columns: tuple[str, ...], group: str) -> np.ndarray:
    """The columns of a group.

    Args:
      columns: of the table, named feature/...
      group: "all", or features joined by "+"; "spectral_" may be left out of a feature's name.

    Returns:
      int64, ascending indices into columns.

    Raises:
      UsageError: the table has no such feature.
    """
    features = [column.partition("/")[0] for column in columns]
    if group == "all":
        return np.arange(len(columns))
    wanted = set()
    for name in group.split("+"):
        found = next((feature for feature in (name, f"spectral_{name}") if feature in features), None)
        if found is None:
            raise UsageError(
                f"--features-group {group}: there is no feature {name!r}; join some of "
                f"{', '.join(dict.fromkeys(features))} by +, or say all"
            )
        wanted.add(found)
    return np.array([i for i, feature in enumerate(features) if feature in wanted])
