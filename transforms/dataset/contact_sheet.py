"""A contact sheet of a dataset: mel spectrograms of some of its tracks, by genre, as a PNG."""

import numpy as np

from transforms.audio.mel import hz_to_mel
from transforms.config import DatasetConfig
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.errors import FmaError
from transforms.records import decode_payload
from transforms.runtime.figures import load_pyplot, save_png
from transforms.runtime.text import printable

COLUMNS = 6
QUIETEST, LOUDEST = -60.0, 35.0  # dB, at the ends of the colours
OCTAVES = (250, 1000, 2000, 4000, 8000, 16_000)  # Hz
WIDTH = 28  # characters above an image


def write_contact_sheet(dataset: str, manifest: Manifest, path: str) -> None:
    """Write a PNG of some tracks' first windows, a row for each genre; FmaError where there are no mel records."""
    images = sample_mels(dataset, manifest, COLUMNS)
    if not images:
        raise FmaError(f"{dataset} has no mel records to show (it holds {', '.join(manifest.config.features)})")
    shown = {track.track_id: str(track.shown_id) for track in read_tracks(dataset, manifest)}
    pyplot = load_pyplot()
    config = manifest.config
    size = (1.6 * COLUMNS + 2, 1.6 * len(images) + 0.8)
    figure, axes = pyplot.subplots(len(images), COLUMNS, figsize=size, squeeze=False, layout="constrained")
    for row, (genre, found) in zip(axes, images.items(), strict=True):
        row[0].set_ylabel(printable(genre), fontsize=10, parse_math=False)
        for i, axis in enumerate(row):
            axis.tick_params(labelsize=6, length=2)
            axis.set_xticks([])
            axis.set_yticks([])
            if i >= len(found):
                axis.set_axis_off()
                continue
            track_id, image = found[i]
            levels = image * config.db_step + config.db_min
            drawn = axis.imshow(levels, origin="lower", aspect="auto", cmap="magma", vmin=QUIETEST, vmax=LOUDEST)
            axis.set_title(_short(shown[track_id]), fontsize=7, pad=2, parse_math=False)
        row[0].set_yticks(*_frequencies(config), fontsize=6)
        row[0].set_xticks((-0.5, config.window_frames - 0.5), ("0", f"{config.window_seconds:.1f} s"), fontsize=6)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=50, pad=0.01)
    bar.set_label("dB", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    figure.suptitle("log-mel of the first window of each track, by track id (Hz)", fontsize=9)
    save_png(figure, path)


def _frequencies(config: DatasetConfig) -> tuple[list[float], list[str]]:
    """Return where octaves lie among the mel bands, and their names in Hz."""
    edges = np.linspace(0.0, hz_to_mel(config.sample_rate / 2), config.n_mels + 2)
    shown = [hz for hz in OCTAVES if hz <= config.sample_rate / 2]
    return [float(np.interp(hz_to_mel(hz), edges[1:-1], np.arange(config.n_mels))) for hz in shown], [
        f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in shown
    ]


def _short(shown_id: str) -> str:
    """Return an id as wide as an image at most: of a path, the end tells tracks apart."""
    text = printable(shown_id)
    return text if len(text) <= WIDTH else f"...{text[3 - WIDTH :]}"


def sample_mels(dataset: str, manifest: Manifest, each: int) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Return (track_id, uint8 [n_mels, window_frames]) of the first window of `each` tracks a genre, in label order."""
    found: dict[str, list[tuple[int, np.ndarray]]] = {genre: [] for genre in manifest.labels}
    for shard in manifest.shards("mel", labels="top"):
        if all(len(images) >= each for images in found.values()):
            break
        for record, _ in read_shard(dataset, shard, manifest.schema):
            images = found[manifest.labels[record.label]]
            if record.window == 0 and len(images) < each:
                images.append((record.track_id, decode_payload("mel", record.payload, manifest.config)))
    return {genre: images for genre, images in found.items() if images}
