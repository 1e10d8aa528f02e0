"""Pictures, drawn by matplotlib into files."""

import io
from types import ModuleType
from typing import TYPE_CHECKING

from transforms import storage
from transforms.runtime.os_errors import annotate_os_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def load_pyplot() -> ModuleType:
    """Import matplotlib.pyplot, without a display and without its notes on standard error."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.set_loglevel("ERROR")
    from matplotlib import pyplot

    return pyplot


def save_png(figure: "Figure", path: str) -> None:
    """Write a figure of pyplot to a local path or an address, and close it."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    load_pyplot().close(figure)
    with annotate_os_errors(path):
        storage.write_bytes(path, drawn.getvalue())
