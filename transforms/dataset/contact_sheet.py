"""A contact sheet of a dataset: mel spectrograms of some of its tracks, by genre, as a PNG."""

from typing import TYPE_CHECKING

from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.errors import FmaError
from transforms.records import decode_payload
from transforms.runtime.figures import load_pyplot, save_png
from transforms.runtime.text import printable

if TYPE_CHECKING:
    import numpy as np

COLUMNS = 6
WIDTH = 28  # characters above an image


def write_contact_sheet(dataset: str, manifest: Manifest, path: str) -> None:
    """Write a PNG of some tracks' first windows, a row for each genre; FmaError where there are no mel records."""
    images = sample_mels(dataset, manifest, COLUMNS)
    if not images:
        raise FmaError(f"{dataset} has no mel records to show (it holds {', '.join(manifest.config.features)})")
    shown = {track.track_id: str(track.shown_id) for track in read_tracks(dataset, manifest)}
    pyplot = load_pyplot()
    size = (1.6 * COLUMNS + 1.2, 1.6 * len(images) + 0.5)
    figure, axes = pyplot.subplots(len(images), COLUMNS, figsize=size, squeeze=False, layout="constrained")
    for row, (genre, found) in zip(axes, images.items(), strict=True):
        row[0].set_ylabel(printable(genre), fontsize=10, parse_math=False)
        for i, axis in enumerate(row):
            axis.set_xticks([])
            axis.set_yticks([])
            if i >= len(found):
                axis.set_axis_off()
                continue
            track_id, image = found[i]
            axis.imshow(image, origin="lower", aspect="auto", cmap="magma", vmin=40, vmax=230)
            axis.set_title(_short(shown[track_id]), fontsize=7, pad=2, parse_math=False)
    seconds = f"{manifest.config.window_seconds:.1f} s"
    figure.suptitle(f"log-mel, first {seconds} of each track (by track id; low frequencies at the bottom)", fontsize=9)
    save_png(figure, path)


def _short(shown_id: str) -> str:
    """Return an id as wide as an image at most: of a path, the end tells tracks apart."""
    text = printable(shown_id)
    return text if len(text) <= WIDTH else f"...{text[3 - WIDTH :]}"


def sample_mels(dataset: str, manifest: Manifest, each: int) -> dict[str, list[tuple[int, "np.ndarray"]]]:
    """Return (track_id, uint8 [n_mels, window_frames]) of the first window of `each` tracks a genre, in label order."""
    found: dict[str, list[tuple[int, np.ndarray]]] = {genre: [] for genre in manifest.labels}
    for shard in manifest.shards("mel", labels="top"):
        if all(len(images) >= each for images in found.values()):
            break
        for record, _ in read_shard(dataset, shard, manifest.config, manifest.vocabulary):
            images = found[manifest.labels[record.label]]
            if record.window == 0 and len(images) < each:
                images.append((record.track_id, decode_payload("mel", record.payload, manifest.config)))
    return {genre: images for genre, images in found.items() if images}
