import io

import pytest

from transforms.errors import FmaError
from transforms.records.tfrecord import frame, read_records

DATA = [b"", b"one", bytes(range(256)) * 40]
FILE = b"".join(map(frame, DATA))


def test_tensorflow_reads_what_we_write_and_we_read_what_it_writes(tmp_path):
    import tensorflow as tf

    (tmp_path / "ours").write_bytes(FILE)
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == DATA
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in DATA:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == FILE
    assert list(read_records(io.BytesIO(FILE), "theirs")) == DATA


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (FILE[:-1], "shard: record 2 is cut short"),
        (FILE[:20], "shard: record 1 is cut short"),
        (FILE[:16] + bytes([FILE[16] ^ 1]) + FILE[17:], "shard: record 1 has a damaged length"),
        (FILE[:-9] + bytes([FILE[-9] ^ 1]) + FILE[-8:], r"shard: record 2 is damaged \(checksum\)"),
    ],
    ids=["end missing", "header missing", "length bit", "data bit"],
)
def test_a_damaged_file_is_named_with_its_record(damaged, message):
    with pytest.raises(FmaError, match=message):
        list(read_records(io.BytesIO(damaged), "shard"))
