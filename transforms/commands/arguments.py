"""Types of arguments for argparse: numbers within a range."""

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
