"""`fma show`: what a dataset holds, as tables and as a contact sheet of mel spectrograms by genre."""

import argparse

from transforms.dataset.contact_sheet import write_contact_sheet
from transforms.dataset.manifest import Manifest, load
from transforms.runtime import console
from transforms.runtime.invocation import called_as
from transforms.tracks import FLAGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fma show`."""
    parser.description = "Shows what a dataset holds: tracks, records, bytes, failures; and how its genres look."
    parser.epilog = f"example: {called_as()} show data/small --sheet mels.png"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--sheet", metavar="PNG", help="write a contact sheet of mel spectrograms by genre")
    parser.add_argument("--json", action="store_true", help="print the totals as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Print what the dataset holds and write the contact sheet."""
    manifest = load(args.dataset)
    if args.json:
        console.say_json({"digest": manifest.digest, "labels": manifest.labels, "totals": manifest.totals})
    else:
        summarize(manifest)
    if args.sheet:
        write_contact_sheet(args.dataset, manifest, args.sheet)
        console.log(f"contact sheet: {args.sheet}")
    return 0


def summarize(manifest: Manifest) -> None:
    """Print a manifest's totals."""
    totals = manifest.totals
    config = manifest.config
    console.table(
        "",
        ("split", "tracks", *config.features),
        [
            (split, tracks, *(sum(shard.records for shard in manifest.shards(kind, split)) for kind in config.features))
            for split, tracks in totals["by_split"].items()
        ]
        + [("all", totals["tracks"], *totals["records"].values())]
        + [("size", "", *(console.human_bytes(size) for size in totals["bytes"].values()))]
        + [("shards", "", *(len(manifest.shards(kind)) for kind in config.features))],
    )
    console.say()
    genres = [(str(label), genre, totals["by_genre"].get(genre, 0)) for label, genre in enumerate(manifest.labels)]
    console.table("", ("label", "genre", "tracks"), genres)
    left_out = [("failed", reason, count) for reason, count in totals["failures"].items()]
    left_out += [("skipped", reason, count) for reason, count in totals["skipped"].items() if count]
    if left_out:
        console.say()
        console.table("", ("not ingested", "reason", "tracks"), left_out)
    console.say()
    for split, tracks in totals["by_split"].items():
        if not tracks:
            console.say(f"note: there are no {split} tracks")
    for flag, meaning in FLAGS.items():
        if totals[flag]:
            console.say(f"note: {meaning}: {console.counted(totals[flag], 'track')}")
    console.say(f"digest {manifest.digest}")
