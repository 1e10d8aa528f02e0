"""Arguments that the commands of this package share."""

import argparse

from trainers.data.targets import MIN_TRACKS
from trainers.encoders.musicnn import TAGS
from trainers.serving.tasks import THRESHOLD
from trainers.training.devices import BACKENDS, DEVICES
from transforms.commands.arguments import number


def add_model(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add RUN and --model: which model; with `optional`, RUN may be left out, and is then None."""
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?" if optional else None,
        help="of fma train or fma baselines, an export of one, or the folder of fma run: its best by validation",
    )
    parser.add_argument("--model", metavar="NAME", help="of a baselines run; default: the best one on validation")


def add_encoder(parser: argparse._ActionsContainer) -> None:
    """Add --encoder: where the encoders of a run's features are."""
    parser.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="FILE",
        help="of a run on embeddings: the encoder's file or folder, where it is not one of this program with its "
        "published weights; repeatable",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add --labels and --min-tracks: one label for each track, or all of its genres."""
    parser.add_argument(
        "--labels",
        default="top",
        choices=("top", "all"),
        help="one label for each track (top, the default), or all of its genres, which keep to their tree (all)",
    )
    parser.add_argument(
        "--min-tracks",
        type=number(int, 1),
        metavar="N",
        help=f"with --labels all, training tracks that a genre needs to be learned; default {MIN_TRACKS}",
    )


def add_folds(parser: argparse.ArgumentParser) -> None:
    """Add --folds."""
    parser.add_argument(
        "--folds",
        type=number(int, 3),
        metavar="K",
        help="score on all tracks, by cross-validation that keeps artists together: each fold is the test once",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", default="auto", choices=DEVICES)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add --backend."""
    parser.add_argument("--backend", default=BACKENDS[0], choices=BACKENDS, help="of Keras; default tensorflow")


def add_limits(parser: argparse._ActionsContainer, *, seconds: float, megabytes: int) -> None:
    """Add --timeout and --memory: what one song may cost. Bounded, so that the system's own numbers hold them."""
    parser.add_argument(
        "--timeout",
        type=number(float, 0, above=True, below=100_000),
        default=seconds,
        metavar="S",
        help=f"for one song; default {seconds:g}",
    )
    parser.add_argument(
        "--memory",
        type=number(int, 64, below=100_000_000),
        default=megabytes,
        metavar="MB",
        help=f"to decode one; default {megabytes}",
    )


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Add --threshold."""
    parser.add_argument(
        "--threshold",
        type=number(float, 0, below=1),
        metavar="P",
        help=(
            f"the verdict is 'unsure' where no genre is at least this likely; default {THRESHOLD:g}. With many genres, "
            "one is predicted where it is; default: a threshold for each genre, chosen on validation"
        ),
    )


def add_tags(parser: argparse.ArgumentParser) -> None:
    """Add --tags: who describes songs beside the run."""
    parser.add_argument(
        "--tags",
        choices=sorted(TAGS),
        help=(
            "also describe songs by the tags of a network that was trained elsewhere: musicnn (the 50 most frequent "
            "tags of Last.fm) or musicnn_mtt (MagnaTagATune)"
        ),
    )
