"""`fma bench-input`: how many records a second the input pipeline gives, and which of its stages holds it up."""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from trainers.data.pipeline import find_shards
from trainers.training.throughput import Sample, build_stages, epochs_for, exhaust, time_passes
from transforms.dataset.manifest import ShardFile, load
from transforms.errors import UsageError
from transforms.runtime import console
from transforms.tracks import SPLITS

TRAINING = "training step"


@dataclass(frozen=True, slots=True)
class Stage:
    """The pipeline up to and including a stage, as it was measured.

    Attributes:
      name: of the stage.
      records_per_s: of the pipeline so far.
      ms: milliseconds for each record so far.
      added_ms: what this stage added to the slowest before it; 0 where it works while that one does.
    """

    name: str
    records_per_s: float
    ms: float
    added_ms: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Measures the input pipeline, one stage more at a time: reading, shuffling and batching, parsing, normalising "
        "and augmenting, and with --model the training step. Whole epochs over as many shards as it takes, or several "
        "over all; nothing is cached but by the operating system."
    )
    parser.epilog = "example: fma bench-input data/small --model mel_cnn"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--kind", help="feature kind (default: the model's, or the dataset's first)")
    parser.add_argument("--split", choices=SPLITS, default="training")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="records in a batch (default: 32)")
    parser.add_argument("--model", metavar="MODEL", help="also measure the training step of this model")
    parser.add_argument("--weights", help="of the model, where it needs a file (default: none)")
    parser.add_argument("--records", type=int, default=2000, metavar="N", help="to take at a time (default: 2000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each stage, at least (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma bench-input --help`."""
    sample = take_sample(args)
    result = measure(sample, args.seconds, args.model, args.weights)
    if args.json:
        facts = {"dataset": args.dataset, "kind": sample.kind, "split": args.split, "batch_size": args.batch_size}
        console.say(json.dumps(facts | {"records": sample.records} | result))
        return 0
    title = (
        f"{sample.records:,} {sample.kind} records of the {args.split} split, {len(sample.shards):,} shards, "
        f"batches of {args.batch_size:,}"
    )
    rows = [(stage["name"], round(stage["records_per_s"]), *_ms(stage)) for stage in result["stages"]]
    console.table(title, ("up to", "records/s", "ms for each", "added ms"), rows)
    console.say(explain(result))
    return 0


def _ms(stage: dict[str, Any]) -> tuple[str, str]:
    return f"{stage['ms']:.3f}", f"{stage['added_ms']:.3f}"


def take_sample(args: argparse.Namespace) -> Sample:
    """The first shards of the split that together have about as many records as were asked for.

    Raises:
      UsageError: an argument does not fit the dataset.
    """
    if min(args.batch_size, args.records) < 1:
        raise UsageError("--batch-size and --records must be at least 1")
    manifest = load(args.dataset)
    kind = _model_kind(args.model, args.kind) if args.model else args.kind or manifest.config.features[0]
    shards: list[ShardFile] = []
    for shard in find_shards(args.dataset, manifest, kind, args.split):
        if sum(one.records for one in shards) >= max(args.records, args.batch_size):
            break
        shards.append(shard)
    sample = Sample(args.dataset, manifest, kind, shards, args.batch_size, args.records)
    if not sample.batched_records:
        raise UsageError(
            f"{args.dataset} has {sample.records:,} {kind} records for {args.split}, fewer than a batch of "
            f"{args.batch_size:,}: use --batch-size {sample.records} or less"
        )
    return sample


def _model_kind(model: str, kind: str | None) -> str:
    from trainers.models import find

    needed = find(model).kind
    if kind not in (None, needed):
        raise UsageError(f"{model} reads {needed} records, not {kind}: leave --kind out")
    return needed


def measure(sample: Sample, seconds: float, model: str | None, weights: str | None = None) -> dict[str, Any]:
    """Measures all stages.

    Args:
      sample: what to read.
      seconds: least time for each stage.
      model: name of a model whose training step is measured too.
      weights: of the model.

    Returns:
      {stages: [`Stage`], bottleneck: name of a stage, model: None or {name, records_per_s and step_ms of its training
      step alone, idle: share of the time in which the step waits for its input}}.

    Raises:
      FmaError: a shard is damaged.
    """
    from trainers.data import reading

    stages: list[Stage] = []
    facts: dict[str, Any] | None = None
    total = (3 if sample.kind == "stats" else 4) + bool(model)
    with reading(sample.dataset), console.progress("bench-input", total, "stages") as progress:
        for name, stage, records in build_stages(sample):
            progress.advance(0, name)
            epochs = epochs_for(sample.wanted, records)
            taken = time_passes(partial(exhaust, stage.repeat(epochs)), seconds)
            stages.append(_stage(name, taken / (epochs * records), stages))
            progress.advance()
        if model:
            from trainers.training.throughput import bench_step

            progress.advance(0, TRAINING)
            step = bench_step(model, weights, sample, stage, seconds)
            stages.append(_stage(TRAINING, step.fed, stages))
            step_ms = 1000 * step.alone * sample.batch_size
            facts = {"name": model, "records_per_s": 1 / step.alone, "step_ms": step_ms, "idle": step.idle}
            progress.advance()
    rate = facts["records_per_s"] if facts else None
    return {"stages": [asdict(stage) for stage in stages], "bottleneck": find_bottleneck(stages, rate), "model": facts}


def _stage(name: str, seconds: float, before: list[Stage]) -> Stage:
    ms = 1000 * seconds
    return Stage(name, 1 / seconds, ms, max(0.0, ms - max((stage.ms for stage in before), default=0.0)))


def find_bottleneck(stages: list[Stage], step_rate: float | None) -> str:
    """The training step, where alone it takes fewer records/s than the input gives; else the costliest other stage."""
    inputs = [stage for stage in stages if stage.name != TRAINING]
    if step_rate is not None and step_rate < inputs[-1].records_per_s:
        return TRAINING
    return max(inputs, key=lambda stage: stage.added_ms).name


def explain(result: dict[str, Any]) -> str:
    """The bottleneck in a sentence."""
    name, model = result["bottleneck"], result["model"]
    inputs = {stage["name"]: stage for stage in result["stages"] if stage["name"] != TRAINING}
    if name in inputs:
        whole = sum(stage["added_ms"] for stage in inputs.values())
        name += f", {inputs[name]['added_ms']:.3f} of {whole:.3f} ms for each record of the input"
    if not model:
        return f"bottleneck: {name}"
    rate = [stage["records_per_s"] for stage in inputs.values()][-1]
    return (
        f"bottleneck: {name}: {model['name']} alone takes {model['records_per_s']:,.0f} records/s "
        f"({model['step_ms']:.1f} ms a step), the input gives {rate:,.0f}; "
        f"the step waits {model['idle']:.0%} of the time"
    )
