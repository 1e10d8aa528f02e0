"""Which requests meet a fault: every n-th of those that match, the faults in turn, so that a test repeats."""

import itertools
import re
import threading
from collections.abc import Iterator


class Faults:
    """Faults are: slow, 429, 503, reset (before the work is done), lost (after it), cut (in the middle of the answer).

    Attributes:
      seconds: that a slow answer takes.
      met: faults so far.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.met = 0
        self.begin()

    def begin(
        self, every: int = 0, kinds: tuple[str, ...] = (), match: str = "", times: int = 0, seconds: float = 0.3
    ) -> int:
        """Start over.

        Args:
          every: n-th matching request meets a fault; 0 for none.
          kinds: the faults, taken in turn.
          match: regular expression that METHOD and path have to contain.
          times: at most so many faults, or 0 for no limit.
          seconds: that a slow answer takes.

        Returns:
          how many faults there were before.
        """
        with self._lock:
            before = self.met
            self._every, self._match, self._times = every, re.compile(match), times
            self._kinds: Iterator[str] = itertools.cycle(kinds or ("503",))
            self._seen = self.met = 0
            self.seconds = seconds
            return before

    def next(self, method: str, path: str) -> str:
        """The fault of this request, or ""."""
        with self._lock:
            if not self._every or not self._match.search(f"{method} {path}"):
                return ""
            self._seen += 1
            if self._seen % self._every or (self._times and self.met >= self._times):
                return ""
            self.met += 1
            return next(self._kinds)
