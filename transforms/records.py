"""The record and the files that hold it. Nothing else in the project names a record's key.

A record is a tf.train.Example with compact payloads, in TFRecord files; both are written and read without TensorFlow,
whose import costs a worker 400 MB and seconds.

| key | type | what |
|---|---|---|
| track_id | int64 | the metadata's id |
| window | int64 | index of the window in its track; 0 for a kind that has one record for each track |
| start | int64 | first sample of the window, at the dataset's sample rate |
| label | int64 | class id, an index into the manifest's labels; -1 for a track without a genre_top |
| genres | int64s | ids of all its genres, ascending: indices into the manifest's genres; left out: the label's alone |
| payload | bytes | the feature as little-endian bytes; dtype and shape come from the kind and the config |
"""

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import google_crc32c
import numpy as np

from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.encoders.facts import KIND as EMBEDDING
from transforms.encoders.facts import EncoderFacts
from transforms.errors import FmaError
from transforms.taxonomy import Vocabulary, alone

if TYPE_CHECKING:
    import tensorflow as tf

NUMBERS = ("track_id", "window", "start", "label")
GENRES = "genres"
PAYLOAD = "payload"

# As tensorflow/core/example/feature.proto, under names of our own: TensorFlow may be loaded too.
DESCRIPTION = """
name: "fma_genres/example.proto" package: "fma_genres" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type {
  name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".fma_genres.BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".fma_genres.FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".fma_genres.Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".fma_genres.Feature" }
  }
  field {
    name: "feature" number: 1 type: TYPE_MESSAGE type_name: ".fma_genres.Features.FeatureEntry" label: LABEL_REPEATED
  }
}
message_type {
  name: "Example" field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".fma_genres.Features" }
}
"""

OVERHEAD = 16  # bytes that the TFRecord format adds to each record


@cache
def example_class() -> Any:
    """Return the Example message class."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(DESCRIPTION, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fma_genres.Example"))


@dataclass(frozen=True, slots=True)
class Record:
    """One feature of one window (or of one track), before it is a tf.train.Example."""

    track_id: int
    window: int
    start: int
    label: int
    payload: bytes
    genres: tuple[int, ...] = ()


@dataclass(frozen=True)
class Schema:
    """What the records of a dataset look like."""

    config: DatasetConfig
    vocabulary: Vocabulary
    encoders: Mapping[str, EncoderFacts] = field(default_factory=dict)

    def layout(self, kind: str) -> tuple[np.dtype, tuple[int, ...]]:
        """Return dtype and shape of the payloads of a feature kind, or of embeddings."""
        first, _, name = kind.partition("/")
        if first == EMBEDDING:
            return np.dtype("<f4"), self.encoders[name].shape
        return KINDS[kind].dtype, KINDS[kind].shape(self.config)

    def decode(self, kind: str, payload: bytes) -> np.ndarray:
        """Return a payload as an array of the kind's dtype and shape."""
        dtype, shape = self.layout(kind)
        return np.frombuffer(payload, dtype).reshape(shape)

    def find_mismatch(self, record: Record, kind: str, labelled: str) -> str:
        """Return what a record has that none has in a shard of a kind and of tracks that are so labelled, or ""."""
        if wrong := self.vocabulary.find_mismatch(record, labelled):
            return wrong
        dtype, shape = self.layout(kind)
        want = dtype.itemsize * math.prod(shape)
        return "" if len(record.payload) == want else f"a payload of {len(record.payload)} bytes, not {want}"


def serialize(record: Record) -> bytes:
    """Return the record as the bytes of a tf.train.Example; equal records give equal bytes."""
    example = example_class()()
    feature = example.features.feature
    for key in NUMBERS:
        feature[key].int64_list.value.append(getattr(record, key))
    feature[PAYLOAD].bytes_list.value.append(record.payload)
    if record.genres:
        feature[GENRES].int64_list.value.extend(record.genres)
    return example.SerializeToString(deterministic=True)


def deserialize(data: bytes) -> Record:
    """Parse what `serialize` returned; ValueError where the bytes are not one of our records."""
    from google.protobuf.message import DecodeError

    try:
        feature = example_class().FromString(data).features.feature
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    if set(feature) - {GENRES} != {*NUMBERS, PAYLOAD}:
        raise ValueError(f"a record with the keys {', '.join(sorted(feature)) or '(none)'}")
    try:
        numbers = {key: feature[key].int64_list.value[0] for key in NUMBERS}
        genres = tuple(feature[GENRES].int64_list.value) if GENRES in feature else ()
        return Record(**numbers, payload=feature[PAYLOAD].bytes_list.value[0], genres=genres)
    except IndexError as error:
        raise ValueError("a record with a key that has no value") from error


def digest(kind: str, record: Record, split: str, genre: str, genres: Sequence[str] = ()) -> int:
    """Return a 256-bit digest of a record's content, with names for its ids, since those depend on the growth.

    Args:
      genre: the name behind `record.label`, or "".
      genres: the names of all genres, sorted; left out: `genre` alone.
    """
    head = f"{kind}\0{record.track_id}\0{record.window}\0{record.start}\0{split}\0{genre}\0"
    more = "" if tuple(genres) in ((), alone(genre)) else "\0".join(("genres", *genres, ""))
    hashed = hashlib.sha256((head + more).encode())
    hashed.update(record.payload)
    return int.from_bytes(hashed.digest(), "big")


def add_digests(*digests: int) -> int:
    """Combine digests, whatever their order or grouping, to their sum modulo 2**256."""
    return sum(digests) % (1 << 256)


def decode_payload(kind: str, payload: bytes, config: DatasetConfig) -> np.ndarray:
    """Return the feature as an array of the kind's dtype and shape."""
    feature = KINDS[kind]
    return np.frombuffer(payload, feature.dtype).reshape(feature.shape(config))


def parse_example(kind: str, config: DatasetConfig, serialized: "tf.Tensor") -> dict[str, "tf.Tensor"]:
    """Parse one serialized record, or a batch of them, inside a TensorFlow graph.

    Args:
      serialized: string tensor, shape [] or [batch].

    Returns:
      {kind: tensor of the kind's dtype, [*shape] or [batch, *shape], static; and track_id, window, start, label:
      int64, [] or [batch]}.
    """
    import tensorflow as tf

    spec = {key: tf.io.FixedLenFeature([], tf.int64) for key in NUMBERS}
    spec[PAYLOAD] = tf.io.FixedLenFeature([], tf.string)
    batched = serialized.shape.rank == 1
    parse = tf.io.parse_example if batched else tf.io.parse_single_example
    parsed = parse(serialized, spec)
    feature = KINDS[kind]
    lead = [serialized.shape[0] or -1] if batched else []
    values = tf.io.decode_raw(parsed.pop(PAYLOAD), tf.as_dtype(feature.dtype))
    parsed[kind] = tf.reshape(values, [*lead, *feature.shape(config)])
    return parsed


def masked_crc(data: bytes) -> int:
    """Return crc32c, rotated right by 15 bits plus a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """Return one record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))))


def read_records(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Read the records of a TFRecord file, one at a time.

    Args:
      file: at its beginning.
      name: what to call the file in errors.

    Raises:
      FmaError: a record is cut short or its checksum does not match; names the file and the record.
    """
    index = 0
    while header := file.read(12):
        if len(header) < 12:
            raise FmaError(f"{name}: record {index} is cut short")
        length, length_crc = struct.unpack("<QI", header)
        if masked_crc(header[:8]) != length_crc:
            raise FmaError(f"{name}: record {index} has a damaged length")
        data = file.read(length)
        footer = file.read(4)
        if len(data) < length or len(footer) < 4:
            raise FmaError(f"{name}: record {index} is cut short")
        if masked_crc(data) != struct.unpack("<I", footer)[0]:
            raise FmaError(f"{name}: record {index} is damaged (checksum)")
        yield data
        index += 1
