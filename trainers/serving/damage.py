"""What a run's or a bundle's files hold that nobody of ours wrote: one line, as soon as they are opened."""

from collections.abc import Iterator
from contextlib import contextmanager

from transforms.errors import FmaError


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Around code that takes a file's values apart.

    Raises:
      FmaError: they are not what they should be.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FmaError(f"{path} is damaged: {type(error).__name__} {error}") from error


def check_labels(path: str, labels: list[str], outputs: int) -> None:
    """Refuses labels that are not those of a network's outputs."""
    if len(labels) != outputs:
        raise FmaError(f"{path} is damaged: it has {len(labels)} labels, and the network has {outputs} outputs")
