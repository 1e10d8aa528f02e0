"""TFRecord files, written and read without TensorFlow.

Format (tensorflow/core/lib/io/record_writer.h): for each record its length (uint64), the masked crc32c of those 8
bytes (uint32), the data, and the masked crc32c of the data (uint32), all little-endian.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from transforms.errors import FmaError

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
