"""Threads of Beam that talk to a runner or to workers, and fail when these are gone."""

import contextlib
import threading
import time
from collections.abc import Iterator

import grpc

THREADS = ("wait_until_finish_read", "read_grpc_client_inputs", "run_worker_", "beam_control_read")
"""Beginnings of their names."""

END_SECONDS = 5.0


@contextlib.contextmanager
def quiet_threads() -> Iterator[None]:
    """Keep Beam's threads quiet that lose their connection: each would print a traceback."""
    hook = threading.excepthook

    def show(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, grpc.RpcError):
            hook(failed)

    threading.excepthook = show
    try:
        yield
    except BaseException:
        deadline = time.monotonic() + END_SECONDS
        for thread in threading.enumerate():
            if thread.name.startswith(THREADS):
                thread.join(max(0.0, deadline - time.monotonic()))
        raise
    finally:
        threading.excepthook = hook
