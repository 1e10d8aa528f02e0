"""The signals that end a command: Ctrl-C, SIGTERM, and SIGHUP of a terminal that was closed."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POKE = signal.SIGURG  # which does nothing
POKES = (0.0, 0.1, 1.0)  # seconds before each


class InterruptedBySignal(KeyboardInterrupt):
    """A signal asks this process to end; whatever cleans up after Ctrl-C does so after any of them."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for the signal."""
        return 128 + self.number


def ignore(number: int, frame: Any) -> None:
    """Handle a signal by doing nothing; Python complains of one that comes while its handler becomes SIG_IGN."""


@contextlib.contextmanager
def raise_on_signals() -> Iterator[list[InterruptedBySignal]]:
    """Raise InterruptedBySignal in the body for `SIGNALS`, but for those that are ignored or handled already.

    Yield a list of what was raised so far. Other threads than the main one get no signals: for them this does nothing.
    """
    raised: list[InterruptedBySignal] = []
    before = {}

    def stop(number: int, frame: Any) -> None:
        for again in (signal.SIGTERM, signal.SIGHUP):  # shells and init systems send several: the first one counts
            signal.signal(again, ignore)
        raised.append(InterruptedBySignal(number))
        raise raised[-1]

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number, handler in before.items() if handler in defaults}
    with _wake_main_thread() if before else contextlib.nullcontext():
        try:
            for number in before:
                signal.signal(number, stop)
            yield raised
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _wake_main_thread() -> Iterator[None]:
    """Interrupt what the main thread waits for whenever a signal has come, and raise again what was raised in vain.

    The system may deliver a signal to any thread, and Python handles it in the main one, which would not notice. Where
    it is handled during a `__del__` or another call whose exceptions Python can only print, it would be lost.
    """
    main = threading.get_ident()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lost: list[BaseException] = []
    earlier_hook = sys.unraisablehook

    def poke() -> None:
        while number := os.read(reader, 1):
            for seconds in POKES if number[0] != POKE else ():
                time.sleep(seconds)
                signal.pthread_kill(main, POKE)
        os.close(reader)

    def keep_lost(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, InterruptedBySignal):
            earlier_hook(unraisable)
            return
        os.write(writer, bytes(1))
        lost.append(unraisable.exc_value)

    def raise_lost(number: int, frame: Any) -> None:
        if lost and not (frame and frame.f_code is keep_lost.__code__):
            raise lost.pop()

    signal.signal(POKE, raise_lost)  # and stays: the last one may come late
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    sys.unraisablehook = keep_lost
    threading.Thread(target=poke, name="signals", daemon=True).start()
    try:
        yield
    finally:
        sys.unraisablehook = earlier_hook
        signal.set_wakeup_fd(earlier)
        os.close(writer)
