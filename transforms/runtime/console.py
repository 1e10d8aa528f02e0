"""What commands put on the terminal: results on standard output; progress, remarks and errors on standard error."""

import contextlib
import errno
import os
import re
import select
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, TextIO

from transforms.errors import FmaError
from transforms.runtime.stderr import debugging

RATE_WINDOW = 60.0  # the rate and the time left are those of the last minute


def human_bytes(count: float) -> str:
    """Return bytes in binary units: 512 B, 7.2 GiB, 342 MiB."""
    units = iter(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = next(units)
    while count >= 1023.5 and unit != "PiB":
        count, unit = count / 1024, next(units)
    return f"{count:,.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return a time span in its two largest units: 4.2 s, 2 min 45 s, 3 h 5 min, 2 d 7 h."""
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
        """Set the absolute count; less than before means that the work started again."""
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
        """Such as `1,200 of 8,000 tracks, 41.2/s, 2 min 45 s left, 3 failed`."""
        rate = self._rate(self._samples[0], now)
        parts = [self._count(), self._per_second(rate)]
        if self.total is not None and rate > 0:
            parts.append(f"{human_seconds(max(0, self.total - self.done) / rate)} left")
        return ", ".join(part for part in [*parts, self.note] if part)

    def finish(self, completed: bool) -> None:
        """Show the last state, with the average rate and the time it took."""
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


LINE_INTERVAL = 30.0  # seconds between two plain lines
BAR_INTERVAL = 0.1  # seconds between two redraws of the bar
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
READER_LEFT = 141  # 128 + SIGPIPE
ADVICE = {  # of the errors that a user can mend, by number
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some space or write elsewhere",
    errno.EFBIG: "this file system takes no file of that size: write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EEXIST: "remove it or choose another path",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), "check the path"),
}
_QUANTITY = re.compile(r"[-+]?\d[\d,]*(\.\d+)?( ?%| [A-Za-z/]+( \d+ [a-z]+)?)?")


def say(line: str = "") -> None:
    """Write one line of a result to standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def log(line: str) -> None:
    """Write one remark to standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


@contextlib.contextmanager
def _bar(label: str, stream: TextIO) -> Iterator[Callable[[Progress, str], None]]:
    """Return a bar as wide as the text leaves it. Redrawn when asked: a thread of its own would not survive a fork."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[text]}", markup=False),
    )
    console = Console(file=stream, force_terminal=True)
    with RichProgress(*columns, console=console, auto_refresh=False, redirect_stdout=False, expand=True) as bars:
        task = bars.add_task(label, total=None, text="")

        def show(progress: Progress, text: str) -> None:
            bars.update(task, total=progress.total, completed=progress.done, text=text, refresh=True)

        yield show


@contextlib.contextmanager
def _lines(label: str, stream: TextIO) -> Iterator[Callable[[Progress, str], None]]:
    def show(progress: Progress, text: str) -> None:
        stream.write(f"{label}: {text}\n")
        stream.flush()

    yield show


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
    """Show on standard error how work goes on: a bar on a terminal, else a plain line now and then and one at the end.

    Args:
      label: what is being done, such as "ingest".
      total: how much there is to do, or None where that is not known.
      unit: what is counted, in the plural; "bytes" is shown as KiB, MiB, ...
      initial: how much was there before; it does not count towards the rate.
      interval: least seconds between two plain lines.
      clock: seconds, monotonic.
      stream: instead of standard error.
    """
    stream = stream or sys.stderr
    terminal = _is_terminal(stream)
    with (_bar if terminal else _lines)(label, stream) as show:
        state = Progress(
            label, total, unit, initial, interval=BAR_INTERVAL if terminal else interval, clock=clock, show=show
        )
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


def _cells(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> tuple[list[list[str]], list[bool]]:
    """Return the cells as text, and for each column whether it holds quantities only."""
    texts = [[_cell(value) for value in row] for row in rows]
    filled = [[row[i] for row in texts if row[i] not in ("", "-")] for i in range(len(columns))]
    return texts, [bool(cells) and all(_QUANTITY.fullmatch(cell) for cell in cells) for cells in filled]


def format_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as plain text: whole numbers with thousands separators, columns of quantities right-aligned.

    Args:
      title: a line above the table, or "".
      columns: their names.
      rows: a cell for each column; int, float (two decimals), bool, None (empty) or text.
    """
    texts, right = _cells(columns, rows)
    widths = [max(len(row[i]) for row in [list(columns), *texts]) for i in range(len(columns))]
    lines = [list(columns), ["-" * width for width in widths], *texts]
    aligned = [
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)
        )
        for row in lines
    ]
    return "\n".join(([title] if title else []) + [line.rstrip() for line in aligned])


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO | None = None) -> None:
    """Write a table to standard output (or `stream`): drawn on a terminal, else as `format_table` makes it."""
    stream = stream or sys.stdout
    if not _is_terminal(stream):
        stream.write(format_table(title, columns, rows) + "\n")
        stream.flush()
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts, right = _cells(columns, rows)
    drawn = Table(title=Text(title) if title else None, title_justify="left")
    for name, quantities in zip(columns, right, strict=True):
        drawn.add_column(Text(name), justify="right" if quantities else "left")
    for row in texts:
        drawn.add_row(*map(Text, row))
    Console(file=stream, force_terminal=True).print(drawn)


@contextlib.contextmanager
def annotate_os_errors(path: str) -> Iterator[None]:
    """Add `path` to an OSError that does not say which file it is about, as that of a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = path
        raise


def main_guard(run: Callable[..., int], *args: Any) -> int:
    """Call `run(*args)` and returns the exit code; what a user can mend becomes one line on standard error.

    FmaError and UsageError give their own exit code; a file that cannot be read or written 1; Ctrl-C 130; a reader of
    the output that went away (`fma ... | head`) 141, quietly. Anything else is a programming error and is raised.
    With FMA_DEBUG=1 in the environment the traceback comes before the line.
    """
    try:
        code = run(*args)
        sys.stdout.flush()  # here, so that a closed pipe is noticed while it can be handled
        return code
    except FmaError as error:
        return _report(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _report("interrupted", INTERRUPTED)
    except BrokenPipeError:
        if not _detach_closed_streams():
            raise  # the pipe was another one: a worker's or a server's
        return READER_LEFT
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        return _report(f"error: {os_message(error)}", 1)


def _report(message: str, code: int) -> int:
    if debugging():
        traceback.print_exc()
    log("fma: " + " ".join(line.strip() for line in message.splitlines() if line.strip()))
    return code


def os_message(error: OSError) -> str:
    """Such as `data/small: no space left on device: free some space or write elsewhere`; advice where there is any."""
    number = error.errno or 0
    if number not in ADVICE:
        return str(error)
    path = error.filename
    where = [] if path is None else [os.fsdecode(path) if isinstance(path, (str, bytes)) else str(path)]
    return ": ".join([*where, os.strerror(number).lower(), ADVICE[number]])


def _detach_closed_streams() -> bool:
    """Points output whose reader went away at nothing, so that Python's own last flush is quiet."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    closed = [descriptor for descriptor, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]
    for descriptor in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return bool(closed)
