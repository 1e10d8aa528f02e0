"""The record: its keys, its writer and its parser. Nothing else in the project names a key.

A record is a tf.train.Example with compact payloads:

| key | type | what |
|---|---|---|
| track_id | int64 | the metadata's id |
| window | int64 | index of the window in its track; 0 for a kind that has one record for each track |
| start | int64 | first sample of the window, at the dataset's sample rate |
| label | int64 | class id, an index into the manifest's labels |
| payload | bytes | the feature as little-endian bytes; dtype and shape come from the kind and the config |
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.records.tfrecord import example_class

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Record:
    """One feature of one window (or of one track), before it is a tf.train.Example."""

    track_id: int
    window: int
    start: int
    label: int
    payload: bytes


def serialize(record: Record) -> bytes:
    """The record as the bytes of a tf.train.Example; equal records give equal bytes."""
    example = example_class()()
    feature = example.features.feature
    for key in ("track_id", "window", "start", "label"):
        feature[key].int64_list.value.append(getattr(record, key))
    feature["payload"].bytes_list.value.append(record.payload)
    return example.SerializeToString(deterministic=True)


def deserialize(data: bytes) -> Record:
    """The inverse of `serialize`, without TensorFlow.

    Raises:
      ValueError: the bytes are not one of our records.
    """
    from google.protobuf.message import DecodeError

    try:
        feature = example_class().FromString(data).features.feature
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    if set(feature) != {"track_id", "window", "start", "label", "payload"}:
        raise ValueError(f"a record with the keys {', '.join(sorted(feature))}")
    numbers = {key: feature[key].int64_list.value[0] for key in ("track_id", "window", "start", "label")}
    return Record(**numbers, payload=feature["payload"].bytes_list.value[0])


def digest(kind: str, record: Record, split: str, genre: str) -> int:
    """256-bit digest of a record's content. Label ids depend on the order of growth, so the genre's name goes in."""
    head = f"{kind}\0{record.track_id}\0{record.window}\0{record.start}\0{split}\0{genre}\0"
    hashed = hashlib.sha256(head.encode())
    hashed.update(record.payload)
    return int.from_bytes(hashed.digest(), "big")


def add_digests(*digests: int) -> int:
    """Combines digests in a way that does not depend on order or grouping: their sum modulo 2**256."""
    return sum(digests) % (1 << 256)


def decode_payload(kind: str, payload: bytes, config: DatasetConfig) -> np.ndarray:
    """The feature as an array of the kind's dtype and shape."""
    feature = KINDS[kind]
    return np.frombuffer(payload, feature.dtype).reshape(feature.shape(config))


def parse_example(kind: str, config: DatasetConfig, serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
    """One serialized record, or a batch of them, inside a TensorFlow graph.

    Args:
      kind: a feature kind's name.
      config: the dataset's.
      serialized: string tensor, shape [] or [batch].

    Returns:
      {kind: tensor of the kind's dtype, [*shape] or [batch, *shape], static; and track_id, window, start, label:
      int64, [] or [batch]}.
    """
    import tensorflow as tf

    numbers = ("track_id", "window", "start", "label")
    spec = {key: tf.io.FixedLenFeature([], tf.int64) for key in numbers}
    spec["payload"] = tf.io.FixedLenFeature([], tf.string)
    batched = serialized.shape.rank == 1
    parse = tf.io.parse_example if batched else tf.io.parse_single_example
    parsed = parse(serialized, spec)
    feature = KINDS[kind]
    lead = [serialized.shape[0] or -1] if batched else []
    values = tf.io.decode_raw(parsed.pop("payload"), tf.as_dtype(feature.dtype))
    parsed[kind] = tf.reshape(values, [*lead, *feature.shape(config)])
    return parsed
