"""Arguments that the commands of this package share."""

import argparse

from trainers.serving.answers import THRESHOLD
from trainers.settings import number


def add_model(parser: argparse.ArgumentParser) -> None:
    """RUN and --model: which model."""
    parser.add_argument("run", metavar="RUN", help="of fma train or fma baselines, or a bundle of fma export")
    parser.add_argument("--model", metavar="NAME", help="of a baselines run; default: the best one on validation")


def add_judging(parser: argparse.ArgumentParser) -> None:
    """--threshold and --device: how it judges."""
    parser.add_argument(
        "--threshold",
        type=number(float, 0, below=1),
        default=THRESHOLD,
        metavar="P",
        help=f"the verdict is 'unsure' where no genre is at least so likely; default {THRESHOLD:g}",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "tpu", "gpu", "cpu"))
