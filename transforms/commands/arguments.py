"""Arguments as argparse does not have them: numbers within a range, and names in a list."""

import argparse
import math
from collections.abc import Callable
from typing import Any


def number(kind: Callable[[str], Any], least: float, *, above: bool = False, below: float = math.inf) -> Callable:
    """Return an argparse type: a number that is at least `least` (above it where `above`) and below `below`."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not (value > least if above else value >= least) or not value < below:
            top = f", below {below:g}" if below < math.inf else ""
            raise argparse.ArgumentTypeError(f"must be {'above' if above else 'at least'} {least:g}{top}")
        return value

    parse.__name__ = "number"  # argparse names it in its error where the text is no number
    return parse


def numbers(kind: Callable[[str], Any], least: float, *, above: bool = False) -> Callable:
    """Return an argparse type: numbers with commas between them, as a tuple."""
    one = number(kind, least, above=above)

    def parse(text: str) -> tuple:
        return tuple(map(one, text.split(",")))

    parse.__name__ = "number"
    return parse


def names(text: str) -> list[str]:
    """Return the names that stand between commas, without spaces around them and without empty ones."""
    return [name for part in text.split(",") if (name := part.strip())]
