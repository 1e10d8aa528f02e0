"""tf.train.Example and TFRecord files without TensorFlow, whose import costs a worker 400 MB and seconds."""

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

import google_crc32c

from transforms.errors import FmaError

DESCRIPTION = """
name: "fma_genres/example.proto" package: "fma_genres" syntax: "proto3"
message_type {
  name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED }
}
message_type {
  name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED }
}
message_type {
  name: "Feature"
  oneof_decl { name: "kind" }
  field {
    name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".fma_genres.BytesList" label: LABEL_OPTIONAL
    oneof_index: 0
  }
  field {
    name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".fma_genres.FloatList" label: LABEL_OPTIONAL
    oneof_index: 0
  }
  field {
    name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".fma_genres.Int64List" label: LABEL_OPTIONAL
    oneof_index: 0
  }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".fma_genres.Feature" label: LABEL_OPTIONAL }
  }
  field {
    name: "feature" number: 1 type: TYPE_MESSAGE type_name: ".fma_genres.Features.FeatureEntry" label: LABEL_REPEATED
  }
}
message_type {
  name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".fma_genres.Features" label: LABEL_OPTIONAL }
}
"""


@cache
def example_class() -> Any:
    """The Example message class."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(DESCRIPTION, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fma_genres.Example"))


OVERHEAD = 16
"""Bytes that the format adds to each record."""


def masked_crc(data: bytes) -> int:
    """crc32c, rotated right by 15 bits plus a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))))


def read_records(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The records of a TFRecord file, one at a time.

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
