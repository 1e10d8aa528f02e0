"""What a runner says of a full or locked disk, as the one line that it is."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors that are the disk's. Others, such as a file that is not there, may be a mistake in the program."""


@contextlib.contextmanager
def disk_errors_named(path: str) -> Iterator[None]:
    """Turns what runners make of a worker's OSError, an exception with a traceback for its message, into an OSError.

    Args:
      path: what the job writes to.

    Raises:
      OSError: one of `DISK`.
    """
    try:
        yield
    except RuntimeError as error:  # FnApiRunner's and the portable runners' own
        numbers = [int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))]
        found = next((number for number in reversed(numbers) if number in DISK), None)
        if found is None:
            raise
        raise OSError(found, os.strerror(found), path) from error
