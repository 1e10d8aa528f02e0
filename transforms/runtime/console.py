"""What commands put on the terminal: results on standard output; progress, remarks and errors on standard error.

All of it may hold names that somebody else chose, so everything passes through `printable` here.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, TextIO

from transforms.runtime import stderr
from transforms.runtime.os_errors import annotate_os_errors
from transforms.runtime.text import printable

RATE_WINDOW = 60.0  # seconds that the rate and the time left are computed from
LINE_INTERVAL = 30.0  # seconds between two plain lines
BAR_INTERVAL = 0.1  # seconds between two redraws of the bar
_quiet = False
_QUANTITY = re.compile(r"[-+]?\d[\d,]*(\.\d+)?( ?%| [A-Za-z/]+( \d+ [a-z]+)?)?")


def human_bytes(count: float) -> str:
    """Format bytes in binary units: 512 B, 7.2 GiB, 342 MiB."""
    units = iter(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = next(units)
    while count >= 1023.5 and unit != "PiB":
        count, unit = count / 1024, next(units)
    return f"{count:,.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """Format a time span in its two largest units: 4.2 s, 2 min 45 s, 3 h 5 min, 2 d 7 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, next_size, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // next_size} {next_unit}"
    return f"{whole} s"


def counted(count: int, noun: str) -> str:
    """Return `1 track` or `8,000 tracks`, for a noun in the singular."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def say(line: str = "") -> None:
    """Write one line of a result to standard output."""
    _write(sys.stdout, line)


def say_json(value: Any) -> None:
    """Write a result to standard output as JSON, whose strings have no control characters in them, but escapes."""
    _write(sys.stdout, json.dumps(value).replace("\x7f", "\\u007f"))


def log(line: str) -> None:
    """Write one remark to standard error."""
    if not _quiet:
        log_error(line)


def log_error(line: str) -> None:
    """Write one line about an error to standard error, also where what libraries write there is being captured."""
    with stderr.moving:
        _write(sys.stderr, line)


def be_quiet() -> None:
    """Show no remarks and no progress from now on, in a process that does what another one reports."""
    global _quiet  # noqa: PLW0603
    _quiet = True


def _write(stream: TextIO, line: str) -> None:
    with annotate_os_errors("standard output" if stream is sys.stdout else "standard error"):
        stream.write(f"{printable(line, stream.encoding)}\n")
        stream.flush()


class Progress:
    """A count of work done, whose text goes to `show`, at most once every `interval` seconds.

    Attributes:
      total: how much there is to do, in `unit`, or None while that is unknown. May be set at any time.
      done: how much is done.
      note: of the last call, such as "3 failed".
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        initial: int,
        *,
        interval: float,
        clock: Callable[[], float],
        show: Callable[["Progress", str], None],
    ):
        self.total, self.unit, self.done, self.note = total, unit, initial, ""
        self._interval, self._clock, self._show = interval, clock, show
        self._started = self._shown = clock()
        self._base = (self._started, initial)  # where the average counts from
        self._samples = deque([self._base])  # (time, done) of the last minute, a second or more apart

    def update(self, done: int, note: str = "") -> None:
        """Set the absolute count; less than before means that the work has started again."""
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
        """Add to the count."""
        self.update(self.done + count, note)

    def status(self, now: float) -> str:
        """Return a text such as `1,200 of 8,000 tracks, 41.2/s, 2 min 45 s left, 3 failed`."""
        rate = self._rate(self._samples[0], now)
        known = self.total is not None and rate > 0
        left = f"{human_seconds(max(0, (self.total or 0) - self.done) / rate)} left" if known else ""
        return self._text(rate, left)

    def finish(self, completed: bool) -> None:
        """Show the last state, with the average rate and the time it took."""
        now = self._clock()
        text = self._text(self._rate(self._base, now), f"in {human_seconds(now - self._started)}")
        self._show(self, text if completed else f"stopped at {text}")

    def _rate(self, since: tuple[float, int], now: float) -> float:
        return (self.done - since[1]) / (now - since[0]) if now > since[0] else 0.0

    def _text(self, rate: float, time_text: str) -> str:
        in_bytes = self.unit == "bytes"
        amount = human_bytes if in_bytes else "{:,}".format
        count = amount(self.done) + ("" if self.total is None else f" of {amount(self.total)}")
        per_second = human_bytes(rate) if in_bytes else f"{rate:,.{0 if rate >= 1000 else 1 if rate >= 1 else 3}f}"
        parts = [count if in_bytes else f"{count} {self.unit}", f"{per_second}/s" if rate > 0 else "", time_text]
        return ", ".join(part for part in [*parts, self.note] if part)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


@contextlib.contextmanager
def _bar(label: str, stream: TextIO) -> Iterator[Callable[[Progress, str], None]]:
    """Draw a bar as wide as the text leaves it, redrawn on request: a thread would not survive a fork."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    texts = [TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[text]}")]
    console = Console(file=stream, force_terminal=True)
    with RichProgress(
        texts[0], BarColumn(None), texts[1], console=console, auto_refresh=False, redirect_stdout=False, expand=True
    ) as bars:
        task = bars.add_task(printable(label, stream.encoding), total=None, text="")

        def show(state: Progress, text: str) -> None:
            text = printable(text, stream.encoding)
            bars.update(task, total=state.total, completed=state.done, text=text, refresh=True)

        yield show


@contextlib.contextmanager
def _lines(label: str, stream: TextIO) -> Iterator[Callable[[Progress, str], None]]:
    yield lambda _, text: _write(stream, f"{label}: {text}")


@contextlib.contextmanager
def _nothing(label: str, stream: TextIO) -> Iterator[Callable[[Progress, str], None]]:
    yield lambda _, text: None


@contextlib.contextmanager
def progress(
    label: str,
    total: int | None,
    unit: str,
    *,
    initial: int = 0,
    interval: float = LINE_INTERVAL,
    clock: Callable[[], float] = time.monotonic,
    stream: TextIO | None = None,
) -> Iterator[Progress]:
    """Show progress on standard error: a bar on a terminal, else a plain line at intervals and one at the end.

    Args:
      label: what is being done, such as "ingest".
      total: how much there is to do, or None while that is unknown.
      unit: what is counted, in the plural; "bytes" is shown as KiB, MiB, ...
      initial: how much was done before; it does not count towards the rate.
      interval: least seconds between two plain lines.
    """
    stream = stream or sys.stderr
    terminal = _is_terminal(stream)
    with (_nothing if _quiet else _bar if terminal else _lines)(label, stream) as show:
        every = BAR_INTERVAL if terminal else interval
        state = Progress(total, unit, initial, interval=every, clock=clock, show=show)
        if terminal:
            show(state, state.status(clock()))
        completed = False
        try:
            yield state
            completed = True
        finally:
            state.finish(completed)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return f"{float(value):,.2f}" if isinstance(value, Real) else str(value)


def _cells(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], encoding: str | None
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return the header and the cells as text, and for each column whether it holds quantities only."""
    header = [printable(name, encoding) for name in columns]
    texts = [[printable(_cell(value), encoding) for value in row] for row in rows]
    filled = [[row[i] for row in texts if row[i] not in ("", "-")] for i in range(len(columns))]
    return header, texts, [bool(cells) and all(_QUANTITY.fullmatch(cell) for cell in cells) for cells in filled]


def format_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], encoding: str | None = "utf-8"
) -> str:
    """Format a table as plain text: whole numbers with thousands separators, columns of quantities right-aligned.

    `title` is a line above it, or ""; cells are int, float (two decimals), bool, None (empty) or text; `encoding` is
    that of the stream.
    """
    header, texts, right = _cells(columns, rows, encoding)
    widths = [max(len(row[i]) for row in [header, *texts]) for i in range(len(columns))]
    lines = [printable(title, encoding)] if title else []
    for row in [header, ["-" * width for width in widths], *texts]:
        cells = zip(row, widths, right, strict=True)
        lines.append("  ".join(cell.rjust(width) if r else cell.ljust(width) for cell, width, r in cells).rstrip())
    return "\n".join(lines)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO | None = None) -> None:
    """Write a table to standard output (or `stream`): drawn on a terminal, else as `format_table` returns it."""
    stream = stream or sys.stdout
    if not _is_terminal(stream):
        for line in format_table(title, columns, rows, stream.encoding).split("\n"):
            _write(stream, line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    header, texts, right = _cells(columns, rows, stream.encoding)
    drawn = Table(title=Text(printable(title, stream.encoding)) if title else None, title_justify="left")
    for name, quantities in zip(header, right, strict=True):
        drawn.add_column(Text(name), justify="right" if quantities else "left")
    for row in texts:
        drawn.add_row(*map(Text, row))
    Console(file=stream, force_terminal=True).print(drawn)


def log_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to standard error, as a remark."""
    table(title, columns, rows, sys.stderr)
