"""Reading a shard: whoever reaches its end has read the file that was written."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainers.synthetic import write_dataset
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.errors import FmaError
from transforms.records import frame, serialize


def records_of(folder: Path, manifest: Manifest, kind: str = "mel") -> list:
    """All records of the first shard of a kind."""
    shard = manifest.shards(kind)[0]
    return list(read_shard(str(folder), shard, manifest.schema))


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    return write_dataset(tmp_path, ("mel", "stats"), tracks={"training": 3}, shards=1)


def test_records_come_in_order_each_with_its_bytes_in_the_file(tmp_path, manifest):
    found = records_of(tmp_path, manifest)
    assert [(record.track_id, record.window) for record, _ in found] == [(t, w) for t in (1, 2, 3) for w in (0, 1)]
    whole = b"".join(frame(data) for _, data in found)
    assert (tmp_path / manifest.shards("mel")[0].path).read_bytes() == whole


def damaged(tmp_path: Path, manifest: Manifest, data: bytes) -> str:
    """The error of a reader that meets these bytes in place of the shard."""
    path = tmp_path / manifest.shards("mel")[0].path
    path.write_bytes(data)
    with pytest.raises(FmaError) as error:
        records_of(tmp_path, manifest)
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith(f": run fma verify {tmp_path}")
    return str(error.value).removeprefix(str(path)).removesuffix(f": run fma verify {tmp_path}")


def test_what_a_file_holds_in_place_of_its_records_is_named(tmp_path, manifest):
    records = [record for record, _ in records_of(tmp_path, manifest)]
    rest = b"".join(frame(serialize(record)) for record in records[1:])
    first = records[0]

    def found(data: bytes) -> str:
        return damaged(tmp_path, manifest, data)

    assert found(frame(serialize(replace(first, start=1))) + rest) == " is not the file that was written (checksum)"
    assert found(frame(serialize(replace(first, label=2))) + rest) == ": record 0 has label 2 of 2"
    assert found(frame(serialize(replace(first, label=-1))) + rest) == ": record 0 has label -1 of 2"
    assert found(rest) == " has 5 records, where dataset.json lists 6"
    assert found(rest + rest) == " has 10 records, where dataset.json lists 6"
    assert found(frame(b"no record") + rest).startswith(": record 0 is not a tf.train.Example")
    assert found(frame(b"") + rest) == ": record 0 is a record with the keys (none)"
    stats = (tmp_path / manifest.shards("stats")[0].path).read_bytes()
    assert found(stats) == ": record 0 has a payload of 2072 bytes, not 1024"


def test_a_record_more_than_listed_is_not_passed_on(tmp_path, manifest):
    path = tmp_path / manifest.shards("mel")[0].path
    path.write_bytes(path.read_bytes() * 2)
    passed = 0
    with pytest.raises(FmaError):
        for _ in read_shard(str(tmp_path), manifest.shards("mel")[0], manifest.schema):
            passed += 1
    assert passed == 6
