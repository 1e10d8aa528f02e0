"""A user's options for training, over a model's own settings."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from trainers.models.spec import CLASS_WEIGHTS, ModelOptions, ModelSpec, Phase
from transforms.commands.arguments import number, numbers
from transforms.errors import UsageError

MIXUP_ALPHA = 0.2


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Options that change a model's own settings."""
    each = "one number for every phase, or one for each: 20,10"
    parser.add_argument("--epochs", type=numbers(int, 0), metavar="N[,N]", help=f"at most; {each}; 0 skips a phase")
    parser.add_argument("--learning-rate", type=numbers(float, 0, above=True), metavar="X[,X]", help=f"peak; {each}")
    parser.add_argument("--batch-size", type=number(int, 1), metavar="N", help="records for each replica")
    parser.add_argument("--label-smoothing", type=number(float, 0, below=1), metavar="X", help="0 switches it off")
    parser.add_argument(
        "--class-weights", choices=CLASS_WEIGHTS, help="what rare genres weigh in the training loss; default balanced"
    )
    parser.add_argument(
        "--patience", type=number(int, 1), metavar="N", help="epochs without a lower validation loss that end a phase"
    )
    parser.add_argument("--weight-decay", type=number(float, 0), metavar="X", help="of AdamW")
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--no-augment", action="store_true", help="switch off all augmentation")
    parser.add_argument("--spec-augment", action=switch, help="mask bands and frames of mel images")
    parser.add_argument("--mixup", action=switch, help="mix pairs of records and their labels")
    parser.add_argument("--gain", action=switch, help="make records louder or softer")
    parser.add_argument("--weights", default="", metavar="WHICH", help="imagenet, none or a file; mobilenet_v2, yamnet")
    parser.add_argument("--dropout", type=number(float, 0, below=1), metavar="X", help="before the last layer")
    parser.add_argument("--width", type=number(float, 0, above=True), metavar="X", help="multiplies the channels")
    parser.add_argument("--image-size", type=number(int, 32), metavar="N", help="pixels that mobilenet_v2 sees")


def choose_options(spec: ModelSpec, args: argparse.Namespace) -> ModelOptions:
    """The model's options.

    Raises:
      UsageError: the model takes no weights.
    """
    if args.weights and spec.default_weights is None:
        raise UsageError(f"{spec.name} takes no --weights: it is trained from scratch")
    given = {name: getattr(args, name) for name in ("dropout", "width", "image_size")}
    known = {name: value for name, value in given.items() if value is not None}
    return ModelOptions(weights=args.weights or spec.default_weights or "", seed=args.seed, **known)


def choose_phases(spec: ModelSpec, args: argparse.Namespace) -> tuple[Phase, ...]:
    """The model's phases with the user's settings; a phase of 0 epochs is left out.

    Raises:
      UsageError: a setting does not fit the model.
    """
    if args.spec_augment and spec.kind != "mel":
        raise UsageError(f"--spec-augment masks mel images, and {spec.name} reads {spec.kind}")
    epochs = _for_each("--epochs", args.epochs, spec)
    rates = _for_each("--learning-rate", args.learning_rate, spec)
    phases = tuple(
        _change(phase, args, {"epochs": epochs[i], "learning_rate": rates[i]}) for i, phase in enumerate(spec.phases)
    )
    kept = tuple(phase for phase in phases if phase.epochs)
    if not kept:
        raise UsageError("--epochs: at least one phase needs epochs")
    return kept


def _for_each(option: str, values: Sequence | None, spec: ModelSpec) -> list:
    if values is None:
        return [None] * len(spec.phases)
    if len(values) not in (1, len(spec.phases)):
        names = ", ".join(phase.name for phase in spec.phases)
        raise UsageError(f"{option}: {len(values)} numbers for {len(spec.phases)} phases of {spec.name} ({names})")
    return list(values) if len(values) > 1 else [values[0]] * len(spec.phases)


def _change(phase: Phase, args: argparse.Namespace, given: dict[str, Any]) -> Phase:
    same = ("batch_size", "label_smoothing", "patience", "weight_decay", "class_weights")
    given |= {name: getattr(args, name) for name in same}
    if args.no_augment:
        given |= {"spec_augment": False, "mixup": 0.0, "gain": False}
    given |= {name: getattr(args, name) for name in ("spec_augment", "gain") if getattr(args, name) is not None}
    if args.mixup is not None:
        given["mixup"] = (phase.mixup or MIXUP_ALPHA) if args.mixup else 0.0
    return replace(phase, **{name: value for name, value in given.items() if value is not None})


def describe_phase(phase: Phase) -> dict[str, Any]:
    """A phase as plain values for config.json."""
    values = asdict(phase)
    del values["prepare"]  # a function, and the model's own
    return values
