"""Small pictures of how tracks sound: their mel records, as PNGs for the page."""

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from trainers.report.collect import SPLIT
from transforms.dataset.generation import TRACKS, ShardFile
from transforms.dataset.ledger import IngestedTrack, parse_line, read_ledgers
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.records import decode_payload
from transforms.runtime import console

KIND = "mel"
ROWS, COLUMNS = 48, 160  # of a picture; a short track has fewer columns
LEVELS = 16  # colours: a picture has four bits a pixel
CONTRAST = (10.0, 99.8)  # percentiles of a picture's values that become the darkest and the brightest colour
COLOURS = ((8, 8, 30), (68, 20, 110), (150, 45, 115), (222, 83, 88), (250, 160, 90), (252, 245, 190))
"""From the quietest to the loudest, those of the page of fma serve."""


def make_thumbnails(dataset: str, manifest: Manifest, tracks: Mapping[int, IngestedTrack]) -> dict[int, bytes]:
    """Return a PNG of each test track that has mel records, by id; FmaError where a shard is damaged."""
    parts: dict[int, list[np.ndarray]] = {}
    hop = min(manifest.config.window_hop_frames, manifest.config.window_frames)  # overlaps are shown once
    for track_id, image in read_windows(dataset, manifest, KIND, tracks, title="pictures"):
        columns = max(1, COLUMNS // max(1, tracks[track_id].windows))
        parts.setdefault(track_id, []).append(_shrink(image[:, :hop], columns))
    return {track_id: _draw(np.concatenate(found, axis=1)) for track_id, found in parts.items()}


def read_windows(
    dataset: str, manifest: Manifest, kind: str, wanted: Collection[int], *, title: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the windows of the wanted test tracks, each track's in order: its id, and the payload.

    `title` is the progress bar's. FmaError where a shard is damaged.
    """
    shards = _shards_of(dataset, manifest, kind, wanted)
    with console.progress(title, len(shards), "shards") as progress:
        for shard in shards:
            for record, _ in read_shard(dataset, shard, manifest.schema):
                if record.track_id in wanted:
                    yield record.track_id, decode_payload(kind, record.payload, manifest.config)
            progress.advance()


def _shards_of(dataset: str, manifest: Manifest, kind: str, wanted: Collection[int]) -> list[ShardFile]:
    """Return the shards with records of a kind of the wanted test tracks."""
    found: list[ShardFile] = []
    for generation in manifest.generations:
        ledgers = [file for file in generation.ledgers if file.kind == TRACKS and file.split == SPLIT]
        names = {
            ledger.name
            for ledger, lines in read_ledgers(dataset, ledgers)
            if any(parse_line(TRACKS, line).track_id in wanted for line in lines)
        }
        found += [shard for shard in generation.shards if shard.kind == kind and shard.name in names]
    return found


def _shrink(image: np.ndarray, columns: int) -> np.ndarray:
    """Return the means of a grid of cells, float [ROWS, columns] or fewer of each, of an image [bands, frames]."""
    for axis, parts in enumerate((ROWS, columns)):
        size = image.shape[axis]
        edges = np.linspace(0, size, min(parts, size) + 1).astype(np.int64)
        sums = np.add.reduceat(image.astype(np.float32), edges[:-1], axis=axis)
        widths = np.diff(edges).astype(np.float32)
        image = sums / (widths if axis else widths[:, None])
    return image


def _draw(picture: np.ndarray) -> bytes:
    """Return a PNG of values [rows, columns], the lowest band first; more than COLUMNS are averaged."""
    picture = _shrink(picture, COLUMNS)[::-1]
    low, high = np.percentile(picture, CONTRAST)
    shares = np.clip((picture - low) / max(1.0, high - low), 0, 1)
    stops = np.linspace(0, LEVELS - 1, len(COLOURS))
    palette = np.stack([np.interp(np.arange(LEVELS), stops, channel) for channel in zip(*COLOURS, strict=True)], axis=1)
    return _encode_png(np.rint(shares * (LEVELS - 1)).astype(np.uint8), np.rint(palette).astype(np.uint8))


def _encode_png(pixels: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode a PNG of up to 16 colours.

    Args:
      pixels: uint8 [rows, columns], indices into the palette.
      palette: uint8 [16, 3], red, green and blue.
    """
    rows, columns = pixels.shape
    even = np.pad(pixels, ((0, 0), (0, columns % 2)))
    lines = np.pad(even[:, ::2] << 4 | even[:, 1::2], ((0, 0), (1, 0)))  # a line begins with its filter: 0, none
    header = struct.pack(">IIBBBBB", columns, rows, 4, 3, 0, 0, 0)  # four bits a pixel, with a palette
    parts = {b"IHDR": header, b"PLTE": palette.tobytes(), b"IDAT": zlib.compress(lines.tobytes(), 9), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )
