"""Pictures, drawn by matplotlib into files."""

from types import ModuleType


def load_pyplot() -> ModuleType:
    """Import matplotlib.pyplot, without a display and without its notes on standard error."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.set_loglevel("ERROR")
    from matplotlib import pyplot

    return pyplot
