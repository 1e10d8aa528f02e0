"""`fma show`: what a dataset holds, as tables and as a contact sheet of mel spectrograms by genre."""

import argparse
import io
import json
from typing import TYPE_CHECKING

from transforms import storage
from transforms.dataset.manifest import Manifest, load
from transforms.errors import FmaError
from transforms.runtime import console

if TYPE_CHECKING:
    import numpy as np

SHEET_COLUMNS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = "Shows what a dataset holds: tracks, records, bytes, failures; and how its genres look."
    parser.epilog = "example: fma show data/small --sheet mels.png"
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--sheet", metavar="PNG", help="write a contact sheet of mel spectrograms by genre")
    parser.add_argument("--json", action="store_true", help="print the totals as one JSON value")


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma show --help`."""
    manifest = load(args.dataset)
    if args.json:
        console.say(json.dumps({"digest": manifest.digest, "labels": manifest.labels, "totals": manifest.totals}))
    else:
        summarize(manifest)
    if args.sheet:
        contact_sheet(args.dataset, manifest, args.sheet)
        console.log(f"contact sheet: {args.sheet}")
    return 0


def summarize(manifest: Manifest) -> None:
    """Prints a manifest's totals."""
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
    console.table("", ("label", "genre", "tracks"), _genre_rows(manifest))
    left_out = [("failed", reason, count) for reason, count in totals["failures"].items()]
    left_out += [("skipped", reason, count) for reason, count in totals["skipped"].items() if count]
    if left_out:
        console.say()
        console.table("", ("not ingested", "reason", "tracks"), left_out)
    console.say()
    for split, tracks in totals["by_split"].items():
        if not tracks:
            console.say(f"note: there are no {split} tracks")
    if totals["silent"]:
        console.say(f"note: {totals['silent']:,} tracks are digital silence")
    if totals["zeroed"]:
        console.say(
            f"note: {totals['zeroed']:,} tracks have stretches of exact zeros inside, as lost frames leave them "
            "(zeroed_share in their lines below tracks/)"
        )
    console.say(f"digest {manifest.digest}")


def _genre_rows(manifest: Manifest) -> list[tuple[str, str, int]]:
    by_genre = manifest.totals["by_genre"]
    return [(str(label), genre, by_genre.get(genre, 0)) for label, genre in enumerate(manifest.labels)]


def contact_sheet(dataset: str, manifest: Manifest, path: str) -> None:
    """Writes a PNG with a row for each genre and the first window of some of its tracks in each.

    Raises:
      FmaError: the dataset has no mel records.
    """
    from matplotlib import pyplot

    images = sample_mels(dataset, manifest, SHEET_COLUMNS)
    if not images:
        raise FmaError(f"{dataset} has no mel records to show (it holds {', '.join(manifest.config.features)})")
    size = (1.6 * SHEET_COLUMNS + 1.2, 1.6 * len(images) + 0.5)
    figure, axes = pyplot.subplots(len(images), SHEET_COLUMNS, figsize=size, squeeze=False, layout="constrained")
    for row, (genre, found) in zip(axes, images.items(), strict=True):
        row[0].set_ylabel(genre, fontsize=10)
        for i, axis in enumerate(row):
            axis.set_xticks([])
            axis.set_yticks([])
            if i >= len(found):
                axis.set_axis_off()
                continue
            track_id, image = found[i]
            axis.imshow(image, origin="lower", aspect="auto", cmap="magma", vmin=40, vmax=230)
            axis.set_title(str(track_id), fontsize=7, pad=2)
    seconds = f"{manifest.config.window_seconds:.1f} s"
    figure.suptitle(f"log-mel, first {seconds} of each track (by track id; low frequencies at the bottom)", fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    pyplot.close(figure)
    with console.annotate_os_errors(path):
        storage.write_bytes(path, drawn.getvalue())


def sample_mels(dataset: str, manifest: Manifest, each: int) -> dict[str, list[tuple[int, "np.ndarray"]]]:
    """(track_id, uint8 [n_mels, window_frames]) of the first windows of `each` tracks a genre, in label order."""
    from transforms.dataset.shard_io import read_shard
    from transforms.records.schema import decode_payload, deserialize

    found: dict[str, list[tuple[int, np.ndarray]]] = {genre: [] for genre in manifest.labels}
    for shard in manifest.shards("mel"):
        if all(len(images) >= each for images in found.values()):
            break
        for record in map(deserialize, read_shard(dataset, shard)):
            images = found[manifest.labels[record.label]]
            if record.window == 0 and len(images) < each:
                images.append((record.track_id, decode_payload("mel", record.payload, manifest.config)))
    return {genre: images for genre, images in found.items() if images}
