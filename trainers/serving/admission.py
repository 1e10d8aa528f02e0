"""How many songs the server has at once: those that are sent, and those that are judged or wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from trainers.serving.meters import Meters
from trainers.serving.uploads import RefusedError

WAITING = 4
"""Songs that may wait for each one that is being decoded."""

UPLOADS = 32
"""Songs that may be on their way for each one that is being decoded: they cost disk, but neither core nor thread."""


class Admission:
    """Counts songs in, and refuses those for which there is no place.

    Args:
      decoders: songs that are decoded at once.
      meters: that show the counts.
    """

    def __init__(self, decoders: int, meters: Meters):
        self._most_sent, self._most_judged = decoders * UPLOADS, decoders * (1 + WAITING)
        self._sent = self._judged = 0
        self._meters = meters

    @contextmanager
    def sending(self) -> Iterator[None]:
        """While a song is sent; one that would only wait for a refusal is refused before it is sent.

        Raises:
          RefusedError: too many are.
        """
        if self._sent >= self._most_sent or self._judged >= self._most_judged:
            raise _busy()
        self._sent += 1
        with _counted(self._meters.sent):
            try:
                yield
            finally:
                self._sent -= 1

    @contextmanager
    def judging(self) -> Iterator[None]:
        """While a song is judged or waits for it.

        Raises:
          RefusedError: too many are.
        """
        if self._judged >= self._most_judged:
            raise _busy()
        self._judged += 1
        with _counted(self._meters.inside):
            try:
                yield
            finally:
                self._judged -= 1


@contextmanager
def _counted(gauge: Gauge) -> Iterator[None]:
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


def _busy() -> RefusedError:
    return RefusedError(503, "busy", "too many songs at once: try again in a moment", {"Retry-After": "1"})
