"""`fma show`: what a dataset holds, as tables and as a contact sheet of mel spectrograms by genre."""

import argparse

from transforms.dataset.contact_sheet import write_contact_sheet
from transforms.dataset.genre_tree import GenreRow, read_genres, write_genre_tree
from transforms.dataset.manifest import Manifest, load
from transforms.dataset.neighbours import choose_encoder
from transforms.dataset.track_map import read_map, write_map
from transforms.encoders.facts import EncoderFacts
from transforms.runtime import console
from transforms.runtime.invocation import called_as
from transforms.tracks import FLAGS, SPLITS

OTHERS = {"genres": "(genres of several trees)", "none": "(no genre)"}
"""What is shown of tracks without a genre_top, by `transforms.tracks.LABELLED`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fma show`."""
    parser.description = "Shows what a dataset holds: tracks, records, bytes, failures; and how its genres look."
    parser.epilog = f"example: {called_as()} show data/small --sheet mels.png"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--sheet", metavar="PNG", help="write a contact sheet of mel spectrograms by genre")
    parser.add_argument("--genres", action="store_true", help="list all genres as a tree, with tracks by split")
    parser.add_argument("--tree", metavar="PNG", help="draw the genres as a tree, with tracks by split")
    parser.add_argument("--map", metavar="PNG", help="draw which tracks an encoder finds similar, by genre")
    parser.add_argument("--encoder", metavar="NAME", help="with --map, of fma embed; default: the only one")
    parser.add_argument("--json", action="store_true", help="print the totals as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Print what the dataset holds and write the contact sheet."""
    manifest = load(args.dataset)
    genres = read_genres(args.dataset, manifest) if args.genres or args.tree else []
    if args.json:
        values: dict[str, object] = {"digest": manifest.digest, "labels": manifest.labels, "totals": manifest.totals}
        values["embeddings"] = [
            facts.to_json() | {"digest": manifest.records_digest([facts.kind])} for facts in manifest.encoders.values()
        ]
        console.say_json(values | ({"genres": [row.to_json() for row in genres]} if args.genres else {}))
    elif args.genres:
        print_genres(genres)
    else:
        summarize(manifest)
    if args.tree:
        write_genre_tree(genres, args.tree)
        console.log(f"tree of genres: {args.tree}")
    if args.sheet:
        write_contact_sheet(args.dataset, manifest, args.sheet)
        console.log(f"contact sheet: {args.sheet}")
    if args.map:
        write_map(read_map(args.dataset, manifest, choose_encoder(args.dataset, manifest, args.encoder)), args.map)
        console.log(f"map: {args.map}")
    return 0


def print_genres(rows: list[GenreRow]) -> None:
    """Print the tree of genres, and which of them a split lacks."""
    console.table(
        "tracks by genre, each with those of the genres below it",
        ("genre", *SPLITS, "all"),
        [(f"{'  ' * row.depth}{row.name}", *row.tracks.values(), sum(row.tracks.values())) for row in rows],
    )
    for split in SPLITS:
        if lacking := [row.name for row in rows if split in row.lacking]:
            console.say(f"without {split} tracks: {', '.join(lacking)}")


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
    genres += [("", meaning, totals["labelled"][key]) for key, meaning in OTHERS.items() if totals["labelled"][key]]
    console.table("", ("label", "genre", "tracks"), genres)
    left_out = [("failed", reason, count) for reason, count in totals["failures"].items()]
    left_out += [("skipped", reason, count) for reason, count in totals["skipped"].items() if count]
    if left_out:
        console.say()
        console.table("", ("not ingested", "reason", "tracks"), left_out)
    console.say()
    if manifest.encoders:
        columns = ("embeddings", "reads", "outputs", "tracks", "size", "digest")
        console.table("", columns, [_describe_embeddings(manifest, facts) for facts in manifest.encoders.values()])
        console.say()
    for name, facts in manifest.encoders.items():
        if missing := manifest.lacks(facts.kind):
            tracks = console.counted(missing, "track")
            console.say(f"note: without embeddings by {name}: {tracks} ({called_as()} embed adds them)")
    for split, tracks in totals["by_split"].items():
        if not tracks:
            console.say(f"note: there are no {split} tracks")
    for flag, meaning in FLAGS.items():
        if totals[flag]:
            console.say(f"note: {meaning}: {console.counted(totals[flag], 'track')}")
    console.say(f"digest {manifest.digest}")


def _describe_embeddings(manifest: Manifest, facts: EncoderFacts) -> tuple[object, ...]:
    shards = manifest.shards(facts.kind)
    outputs = ", ".join(f"{name} {size:,}" for name, size in facts.outputs.items())
    size = console.human_bytes(sum(shard.bytes for shard in shards))
    tracks = sum(shard.tracks for shard in shards)
    return facts.name, facts.reads, outputs, tracks, size, manifest.records_digest([facts.kind])[:16]
