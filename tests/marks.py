"""Marks of tests."""

from collections.abc import Iterable

import pytest


def long_but(one: str, names: Iterable[str]) -> list:
    """Parameters of which only one runs with the short tests."""
    return [name if name == one else pytest.param(name, marks=pytest.mark.long) for name in names]
