"""A lease of a folder in a bucket: an object that its holder rewrites at intervals as long as it lives.

Locks of an operating system do not reach other machines. A process that finds the object waits for a renewal: without
one, the holder was killed, and the lease is taken over. A holder that was suspended (a closed laptop) may thus have
lost its lease, so it confirms it before it commits anything.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator

from transforms.errors import BusyError, FmaError
from transforms.runtime import console, processes
from transforms.storage import gcs_client
from transforms.storage.local import PATIENCE

NAME = ".lock"
RENEW_EVERY = 15.0  # seconds
LAPSES_AFTER = 60.0  # seconds, so that several renewals may be late

_held: dict[str, "Lease"] = {}


class Lease:
    """A lease of the folder at an address, renewed by a thread; BusyError(busy) where another process has it."""

    def __init__(self, folder: str, busy: str):
        self._folder, self._busy = folder, busy
        self._path = f"{folder}/{NAME}"
        self._data = json.dumps(processes.identity() | {"key": os.urandom(8).hex()}).encode()
        self._lock = threading.Lock()
        self._version = self._take()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _take(self) -> int:
        while True:
            try:
                return gcs_client.replace_version(self._path, self._data, 0)
            except gcs_client.ChangedError:
                lapsed = self._wait_until_lapsed()
            if lapsed is not None:
                try:
                    return gcs_client.replace_version(self._path, self._data, lapsed)
                except gcs_client.ChangedError as error:
                    raise BusyError(self._busy) from error

    def _wait_until_lapsed(self) -> int | None:
        """Return the version of a lease whose holder is gone, None if the lease is too; BusyError if it is alive."""
        first, announced = None, False
        start = time.monotonic()
        while True:
            try:
                data, version = gcs_client.read_version(self._path)
            except FileNotFoundError:
                return None
            holder = _holder(data)
            if not holder:
                return version  # the lock file of a local dataset that was copied to the bucket
            if processes.is_here(holder):
                if not processes.is_alive(holder):
                    return version
                if time.monotonic() - start >= PATIENCE:
                    raise BusyError(self._busy)
                time.sleep(PATIENCE / 10)
                continue
            if first is None:
                first = version
            if version != first:
                raise BusyError(self._busy)
            if time.monotonic() - start >= LAPSES_AFTER:
                return version
            if not announced:
                who = holder.get("host", "an unknown machine")
                console.log(f"{self._folder} was being written to from {who}; waiting {LAPSES_AFTER:.0f} s for news")
                announced = True
            time.sleep(min(RENEW_EVERY, LAPSES_AFTER) / 3)

    def renew(self) -> None:
        """Rewrite the object; ChangedError where another process has taken over."""
        with self._lock:
            self._version = gcs_client.replace_version(self._path, self._data, self._version)

    def _keep(self) -> None:
        while not self._over.wait(RENEW_EVERY):
            try:
                self.renew()
            except gcs_client.ChangedError:
                return  # `confirm` says so when it matters
            except (FmaError, OSError):
                continue  # the network is down; the lease lapses only if that lasts

    def release(self) -> None:
        """End the lease."""
        self._over.set()
        self._thread.join()
        # Where that fails, the lease lapses by itself.
        with contextlib.suppress(FmaError, OSError):
            gcs_client.remove_version(self._path, self._version)


def _holder(data: bytes) -> dict:
    with contextlib.suppress(ValueError):
        found = json.loads(data)
        return found if isinstance(found, dict) else {}
    return {}


@contextlib.contextmanager
def locked(folder: str, busy: str) -> Iterator[None]:
    """Hold a lease of the folder; see `storage.locked`."""
    folder = folder.rstrip("/")
    lease = Lease(folder, busy)
    _held[folder] = lease
    try:
        yield
    finally:
        del _held[folder]
        lease.release()


def confirm(folder: str) -> None:
    """Renew the lease of the folder, if this process holds one; FmaError where another has taken over."""
    lease = _held.get(folder.rstrip("/"))
    if lease is None:
        return
    try:
        lease.renew()
    except gcs_client.ChangedError as error:
        raise FmaError(
            f"{folder} was taken over by another command after {LAPSES_AFTER:.0f} s without a sign of life of this "
            "one; run it again, it carries on from there"
        ) from error
