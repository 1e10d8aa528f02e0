"""`fma bench-input`: how many records a second the input pipeline gives, and which of its stages is the slowest."""

import argparse
from dataclasses import asdict

from trainers.training.devices import BACKENDS, import_tensorflow
from trainers.training.throughput import TRAINING, describe_bottleneck, measure, take_sample
from transforms.audio.features import KINDS
from transforms.runtime import console
from transforms.runtime.heap import keep_large_blocks
from transforms.runtime.invocation import called_as
from transforms.runtime.stderr import capture_native_stderr
from transforms.tracks import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Measures the input pipeline, one stage more at a time: reading, shuffling and batching, parsing, and with "
        "--model the copy to the device and the training step, which normalises and augments, fed and alone. Whole "
        "epochs over as many shards as it takes, or several over all; nothing is cached but by the operating system."
    )
    parser.epilog = f"example: {called_as()} bench-input data/small --model mel_cnn"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--kind", help="feature kind (default: the model's, or the dataset's first)")
    parser.add_argument("--split", choices=SPLITS, default="training")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="records in a batch (default: 32)")
    parser.add_argument("--model", metavar="MODEL", help="also measure the training step of this model")
    parser.add_argument("--backend", default=BACKENDS[0], choices=BACKENDS, help="of Keras, for the training step")
    parser.add_argument("--weights", help="of the model (default: random ones)")
    parser.add_argument("--records", type=int, default=2000, metavar="N", help="to take at a time (default: 2000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each stage, at least (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma bench-input --help`."""
    sample = take_sample(
        args.dataset,
        args.split,
        kind=args.kind,
        model=args.model,
        batch_size=args.batch_size,
        records=args.records,
    )
    keep_large_blocks(sample.batch_size * KINDS[sample.kind].payload_bytes(sample.manifest.config))
    import_tensorflow(args.backend)
    with capture_native_stderr():  # TensorFlow's notes at its start
        found = measure(sample, args.seconds, args.model, args.weights, args.backend)
    if args.json:
        facts = {"dataset": args.dataset, "kind": sample.kind, "split": args.split, "batch_size": sample.batch_size}
        console.say_json(facts | {"records": sample.records} | asdict(found))
        return 0
    title = (
        f"{sample.records:,} {sample.kind} records of the {args.split} split, {len(sample.shards):,} shards, "
        f"batches of {sample.batch_size:,}"
    )
    rows = [(s.name, round(s.records_per_s), f"{s.ms:.3f}", f"{s.added_ms:.3f}") for s in found.stages]
    if found.model:
        alone = found.model
        rows.append((f"{TRAINING} alone", round(alone.records_per_s), f"{1000 / alone.records_per_s:.3f}", ""))
    console.table(title, ("up to", "records/s", "ms for each", "added ms"), rows)
    console.say(describe_bottleneck(found))
    return 0
