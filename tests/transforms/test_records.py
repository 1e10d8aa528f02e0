import io

import numpy as np
import pytest

from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.errors import FmaError
from transforms.records import (
    Record,
    add_digests,
    decode_payload,
    deserialize,
    digest,
    frame,
    parse_example,
    read_records,
    serialize,
)

CONFIG = DatasetConfig(n_mels=8, window_frames=6, window_hop_frames=6)


def record_of(kind: str, track_id: int = 7, window: int = 2) -> Record:
    size = KINDS[kind].payload_bytes(CONFIG)
    payload = np.random.default_rng(track_id).integers(0, 60, size, np.uint8).tobytes()
    return Record(track_id, window, window * 100, 3, payload)


def test_a_record_comes_back_as_it_was():
    record = record_of("mel")
    assert deserialize(serialize(record)) == record
    assert serialize(record) == serialize(record_of("mel"))


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"hello"])
def test_what_is_not_a_record_is_refused(data):
    with pytest.raises(ValueError, match=r"record with|not a tf\.train\.Example"):
        deserialize(data)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("batched", [False, True])
def test_tensorflow_parses_a_record_to_static_shapes(kind, batched):
    import tensorflow as tf

    records = [record_of(kind, track_id) for track_id in (7, 8)]
    dataset = tf.data.Dataset.from_tensor_slices([serialize(record) for record in records])
    dataset = dataset.batch(2, drop_remainder=True) if batched else dataset
    parsed = dataset.map(lambda serialized: parse_example(kind, CONFIG, serialized))
    shape = KINDS[kind].shape(CONFIG)
    assert parsed.element_spec[kind].shape.as_list() == ([2] if batched else []) + list(shape)
    assert parsed.element_spec["label"].shape.is_fully_defined()
    found = next(iter(parsed))
    first = {key: value.numpy()[0] if batched else value.numpy() for key, value in found.items()}
    np.testing.assert_array_equal(first[kind], decode_payload(kind, records[0].payload, CONFIG))
    assert [first[key] for key in ("track_id", "window", "start", "label")] == [7, 2, 200, 3]


def test_tensorflow_reads_our_example_as_its_own():
    import tensorflow as tf

    record = record_of("raw")
    feature = tf.train.Example.FromString(serialize(record)).features.feature
    assert feature["payload"].bytes_list.value[0] == record.payload
    assert feature["label"].int64_list.value[0] == 3


def test_the_digest_depends_on_content_and_not_on_the_label_id():
    record = record_of("mel")
    value = digest("mel", record, "test", "Rock")
    assert digest("mel", Record(7, 2, 200, 0, record.payload), "test", "Rock") == value
    others = [
        digest("raw", record, "test", "Rock"),
        digest("mel", record, "training", "Rock"),
        digest("mel", record, "test", "Pop"),
        digest("mel", Record(8, 2, 200, 3, record.payload), "test", "Rock"),
        digest("mel", Record(7, 2, 200, 3, record.payload[::-1]), "test", "Rock"),
    ]
    assert len({value, *others}) == 6


def test_digests_combine_in_any_order_and_grouping():
    values = [digest("mel", record_of("mel", i), "test", "Rock") for i in range(5)]
    assert add_digests(*values) == add_digests(add_digests(*values[3:]), *values[2::-1])
    assert add_digests(*values) != add_digests(*values[1:])
    assert 0 <= add_digests(*values) < 1 << 256


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
