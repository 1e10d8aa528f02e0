"""tf.data: records a second into a step that does nothing, and bytes on disk, against float lists.

The other layout is the usual one: each value a float of a FloatList (mel as an image of three equal channels), parsed
one record at a time. Both have the same records in as many files, both read in parallel, neither shuffles.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.benchmarks import clips
from tests.benchmarks.harness import Row, interleave, ratio_of_medians, run_measured, spread
from transforms.dataset.manifest import Manifest, load
from transforms.records import decode_payload, deserialize, frame, read_records

BATCH = 32
CLIPS = 240
RECORDS = {"mel": 8_000, "raw": 2_400, "stats": 40_000}
"""Records of a measurement: about a second or more of the slower layout."""


def make_dataset(folder: Path) -> str:
    """A dataset of all kinds."""
    dataset = folder / "all-kinds"
    if not (dataset / "dataset.json").exists():
        music = clips.linked(folder, clips.made(folder, 40), CLIPS)
        paths = ["--audio", str(music), "--metadata", str(music / "tracks.csv"), "--out", str(dataset)]
        run_measured([sys.executable, "-m", "fma", "ingest", *paths], folder / "all-kinds.log")
    return str(dataset)


def write_float_lists(dataset: str, manifest: Manifest, kind: str, folder: Path) -> list[str]:
    """The training records of a kind in the usual layout; returns the files."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for shard in manifest.shards(kind, "training"):
        path = folder / Path(shard.path).name
        paths.append(str(path))
        if path.exists():
            continue
        with open(Path(dataset, shard.path), "rb") as file, path.open("wb") as out:
            for data in read_records(file, shard.path):
                record = deserialize(data)
                values = decode_payload(kind, record.payload, manifest.config).astype(np.float32)
                values = np.repeat(values[..., None], 3, axis=-1) if kind == "mel" else values
                feature = {
                    "x": tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel())),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[record.label])),
                }
                out.write(frame(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()))
    return paths


def read_ours(dataset: str, manifest: Manifest, kind: str) -> Iterator[None]:
    """Batches without end."""
    from trainers.data.pipeline import ReadOptions, read_split

    options = ReadOptions(BATCH, training=True, cache="off", shuffle=False)
    for _ in read_split(dataset, manifest, kind, "training", options).repeat():
        yield


def read_float_lists(paths: list[str], size: int) -> Iterator[None]:
    """Batches without end."""
    import tensorflow as tf

    shape = {"x": tf.io.FixedLenFeature([size], tf.float32), "label": tf.io.FixedLenFeature([], tf.int64)}
    records = tf.data.TFRecordDataset(paths, num_parallel_reads=tf.data.AUTOTUNE)
    parsed = records.map(lambda data: tf.io.parse_single_example(data, shape), tf.data.AUTOTUNE)
    for _ in parsed.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE).repeat():
        yield


def records_per_s(batches: Iterator[None], records: int) -> float:
    """Of a new pipeline from its second batch on; a running one would have read ahead while it was not looked at."""
    next(batches)
    start = time.perf_counter()
    for _ in range(records // BATCH):
        next(batches)
    return records // BATCH * BATCH / (time.perf_counter() - start)


def measure(folder: Path, *, repeats: int = 5) -> list[Row]:
    """The rows for each kind."""
    dataset = make_dataset(folder)
    manifest = load(dataset)
    rows = []
    for kind, records in RECORDS.items():
        paths = write_float_lists(dataset, manifest, kind, folder / "float-lists" / kind)
        shards = manifest.shards(kind, "training")
        size = np.prod(_shape(dataset, manifest, kind)) * (3 if kind == "mel" else 1)
        ways = {
            "ours": lambda _, k=kind, n=records: records_per_s(read_ours(dataset, manifest, k), n),
            "float lists": lambda _, p=paths, m=int(size), n=records: records_per_s(read_float_lists(p, m), n),
        }
        found = interleave(ways, 1, repeats)
        target = 1_500 if kind == "mel" else None
        rows.append(spread(f"tf.data, {kind}: ours", found["ours"], "records/s", target=target, at_least=True))
        rows.append(spread(f"tf.data, {kind}: float lists", found["float lists"], "records/s"))
        rows.append(Row(f"tf.data, {kind}: ours / float lists", ratio_of_medians(found, *ways), "ratio"))
        bytes_ours, bytes_theirs = sum(shard.bytes for shard in shards), sum(Path(p).stat().st_size for p in paths)
        target = 1 / 12 if kind == "mel" else None
        rows.append(Row(f"disk, {kind}: ours / float lists", bytes_ours / bytes_theirs, "ratio", target=target))
    return rows


def _shape(dataset: str, manifest: Manifest, kind: str) -> tuple[int, ...]:
    shard = manifest.shards(kind, "training")[0]
    with open(Path(dataset, shard.path), "rb") as file:
        first = next(read_records(file, shard.path))
    return decode_payload(kind, deserialize(first).payload, manifest.config).shape
