"""How far work has come, as numbers and as text: counts, rates, time left. `transforms.console` shows it."""

from collections import deque
from collections.abc import Callable

RATE_WINDOW = 60.0  # the rate and the time left are those of the last minute


def human_bytes(count: float) -> str:
    """Bytes in binary units: 512 B, 7.2 GiB, 342 MiB."""
    units = iter(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = next(units)
    while count >= 1023.5 and unit != "PiB":
        count, unit = count / 1024, next(units)
    return f"{count:,.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """A time span in its two largest units: 4.2 s, 2 min 45 s, 3 h 5 min, 2 d 7 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // next_size} {next_unit}"
    return f"{whole} s"


class Progress:
    """Counts work done; hands the text to show to `show`, at most once every `interval` seconds.

    Attributes:
      total: how much there is to do, in `unit`, or None while that is unknown. May be set at any time.
      done: how much is done.
      note: what the last call added, such as "3 failed".
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str,
        initial: int = 0,
        *,
        interval: float,
        clock: Callable[[], float],
        show: Callable[["Progress", str], None],
    ):
        self.label, self.total, self.unit, self.done, self.note = label, total, unit, initial, ""
        self._interval, self._clock, self._show = interval, clock, show
        self._started = self._shown = clock()
        self._base = (self._started, initial)  # where the average counts from
        self._samples = deque([self._base])  # (time, done) of the last minute, a second or more apart

    def update(self, done: int, note: str = "") -> None:
        """Sets the absolute count; less than before means that the work started again."""
        now = self._clock()
        if done < self.done:
            self._base = (now, done)
            self._samples.clear()
        self.done, self.note = done, note
        if not self._samples or now - self._samples[-1][0] >= 1:
            self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > RATE_WINDOW:
            self._samples.popleft()
        if now - self._shown >= self._interval:
            self._shown = now
            self._show(self, self.status(now))

    def advance(self, count: int = 1, note: str = "") -> None:
        """Adds to the count."""
        self.update(self.done + count, note)

    def status(self, now: float) -> str:
        """Such as `1,200 of 8,000 tracks, 41.2/s, 2 min 45 s left, 3 failed`."""
        rate = self._rate(self._samples[0], now)
        parts = [self._count(), self._per_second(rate)]
        if self.total is not None and rate > 0:
            parts.append(f"{human_seconds(max(0, self.total - self.done) / rate)} left")
        return ", ".join(part for part in [*parts, self.note] if part)

    def finish(self, completed: bool) -> None:
        """Shows the last state, with the average rate and the time it took."""
        now = self._clock()
        parts = [self._count(), self._per_second(self._rate(self._base, now))]
        parts += [f"in {human_seconds(now - self._started)}", self.note]
        self._show(self, ("" if completed else "stopped at ") + ", ".join(part for part in parts if part))

    def _rate(self, since: tuple[float, int], now: float) -> float:
        return (self.done - since[1]) / (now - since[0]) if now > since[0] else 0.0

    def _amount(self, count: int) -> str:
        return human_bytes(count) if self.unit == "bytes" else f"{count:,}"

    def _count(self) -> str:
        text = self._amount(self.done) + ("" if self.total is None else f" of {self._amount(self.total)}")
        return text if self.unit == "bytes" else f"{text} {self.unit}"

    def _per_second(self, rate: float) -> str:
        if rate <= 0:
            return ""
        if self.unit == "bytes":
            return f"{human_bytes(rate)}/s"
        return f"{rate:,.0f}/s" if rate >= 1000 else f"{rate:.1f}/s" if rate >= 1 else f"{rate:.3f}/s"
