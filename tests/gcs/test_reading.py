"""Audio and metadata are read in place, in as few requests as that takes."""

import csv
import io
import os
import zipfile
from dataclasses import replace

import pytest

import fma
from tests.gcs.corpus import SETTINGS, digest_of, ingest, upload
from tests.pipelines.ingest.test_ingest import make_music
from tests.trainers.classical.test_fma_tables import features_csv, tracks_csv
from tests.trainers.synthetic import write_dataset
from trainers.classical.fma_tables import read_fma_table
from trainers.data.shard_check import check_shards
from transforms import storage
from transforms.catalog.locate import open_track
from transforms.dataset.ledger import read_tracks
from transforms.errors import FmaError
from transforms.tracks import Track


def test_a_zips_directory_is_read_once_by_the_planner_and_once_by_each_worker(corpus, folder, cloud, tmp_path):
    # With much more in the zip than the tracks that are wanted, as FMA's large zips have.
    packed = tmp_path / "fma_small.zip"
    packed.write_bytes((corpus / "fma_small.zip").read_bytes())
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("fma_small/ballast", bytes(4 << 20), zipfile.ZIP_STORED)
    storage.write_bytes(f"{folder}/fma_small.zip", packed.read_bytes())
    storage.write_bytes(f"{folder}/fma_metadata.zip", (corpus / "fma_metadata.zip").read_bytes())
    cloud.requests()
    assert ingest(folder, f"{folder}/out", "small", packed=True) == 0
    requests = [one for one in cloud.requests("GET") if one["path"].endswith("fma_small.zip")]
    size = packed.stat().st_size
    facts = [one for one in requests if "alt" not in one["query"]]
    ends = [one for one in requests if one["range"].endswith(f"-{size - 1}")]
    heads = [one for one in requests if one["range"].startswith("bytes=0-")]
    members = [one for one in requests if one not in facts + ends + heads]
    # The planner looks whether the address is a folder, then both open the zip: its head, its size, its end.
    assert (len(facts), len(ends), len(heads)) == (2, 2, 2)
    assert len(members) <= 39  # of the 40 tracks one is missing; those that the head holds already cost nothing


def test_a_clip_in_a_zip_is_one_request_however_long_it_is(folder, cloud):
    packed = io.BytesIO()
    clips = {f"fma_small/000/{number:06d}.mp3": os.urandom(1_000_000 * (number % 3 + 1)) for number in range(6)}
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in clips.items():
            archive.writestr(name, data)
    storage.write_bytes(f"{folder}/fma_small.zip", packed.getvalue())
    for number, (name, data) in enumerate(reversed(clips.items())):
        cloud.requests()
        track = Track(number, "Folk", "training", name, f"{folder}/fma_small.zip")
        with open_track(track) as file:
            assert file.read() == data
        assert number == 0 or len(cloud.requests("GET")) <= 1


def test_a_file_of_a_folder_is_one_request(corpus, folder, cloud):
    upload(corpus / "audio", f"{folder}/audio")
    upload(corpus / "fma_metadata", f"{folder}/fma_metadata")
    cloud.requests()
    assert ingest(folder, f"{folder}/out", "small") == 0
    reads = [one for one in cloud.requests("GET", "/o/") if one["path"].endswith(".mp3")]
    assert len({one["path"] for one in reads}) == len(reads) == 40  # one of which finds that there is no such file
    assert all(one["range"] for one in reads)


@pytest.mark.long
def test_files_of_a_csv_are_found_by_listing_their_folder(folder, cloud, tmp_path):
    (tmp_path / "music").mkdir()
    make_music(tmp_path / "music", 24)
    upload(tmp_path / "music", f"{folder}/music")
    paths = ["--audio", f"{folder}/music", "--metadata", f"{folder}/music/tracks.csv", "--out", f"{folder}/out"]
    cloud.requests()
    assert fma.main(["ingest", *paths, *SETTINGS, "--shards", "1"]) == 0
    requests = cloud.requests("GET")
    asked = [one for one in requests if one["query"].get("alt") != "media" and "/o/" in one["path"]]
    assert not [one for one in asked if one["path"].rpartition(".")[2] in ("wav", "flac", "ogg", "mp3", "au")]
    here = ["--audio", str(tmp_path / "music"), "--metadata", str(tmp_path / "music/tracks.csv")]
    assert fma.main(["ingest", *here, "--out", str(tmp_path / "out"), *SETTINGS]) == 0
    assert digest_of(f"{folder}/out") == digest_of(str(tmp_path / "out"))


@pytest.mark.long
def test_a_csv_may_name_addresses(folder, tmp_path):
    make_music(tmp_path, 6)
    upload(tmp_path, f"{folder}/music")
    rows = list(csv.reader((tmp_path / "tracks.csv").read_text().splitlines()))
    lines = [",".join([row[0], f"{folder}/music/{row[1]}", *row[2:]]) for row in rows[1:]]
    (tmp_path / "addresses.csv").write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    paths = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "addresses.csv")]
    assert fma.main(["ingest", *paths, "--out", str(tmp_path / "out"), *SETTINGS]) == 0
    same = ["--audio", str(tmp_path), "--metadata", str(tmp_path / "tracks.csv")]
    assert fma.main(["ingest", *same, "--out", str(tmp_path / "same"), *SETTINGS]) == 0
    assert digest_of(str(tmp_path / "out")) == digest_of(str(tmp_path / "same"))


def test_a_long_song_comes_by_way_of_a_file_of_this_machine(folder, cloud, tmp_path, monkeypatch):
    import soundfile

    from tests.conftest import tone
    from transforms.catalog import locate

    monkeypatch.setattr(locate, "IN_MEMORY", 1 << 20)
    soundfile.write(tmp_path / "song.wav", tone(60, 22_050), 22_050)
    path = f"{folder}/song.wav"
    storage.write_bytes(path, (tmp_path / "song.wav").read_bytes())
    cloud.requests()
    with locate.open_track(Track(1, "Folk", "training", path)) as file:
        assert soundfile.info(file).frames == 60 * 22_050
        for offset in range(0, 2_000_000, 10_000):  # as decoders do
            file.seek(offset)
            file.read(10)
    assert cloud.counts("song.wav")["GET"] <= 3


@pytest.mark.parametrize("version", [1, 2])
def test_a_shard_in_a_bucket_that_is_not_what_was_written_is_found_by_the_buckets_own_checksum(folder, cloud, version):
    manifest = write_dataset(folder, ("mel",), tracks={"training": 8, "test": 8}, shards=1)
    shards = manifest.shards("mel")
    if version == 1:  # without that checksum in dataset.json, the shards are read
        shards = [replace(shard, crc32c="") for shard in shards]
    one, other = (f"{folder}/{shard.path}" for shard in shards)
    cloud.requests()
    with check_shards(folder, shards, set()):
        pass
    downloads = [request for request in cloud.requests("GET") if request["query"].get("alt") == "media"]
    assert bool(downloads) == (version == 1)
    storage.write_bytes(one, storage.read_bytes(other))
    said = f"{one} is not the file that was written .*: run fma verify {folder}"
    with pytest.raises(FmaError, match=said), check_shards(folder, shards, set()):
        pass


def test_ledgers_in_a_bucket_are_read_several_at_a_time_and_in_order(folder, cloud):
    manifest = write_dataset(folder, ("stats",), tracks={"training": 60}, shards=12)
    found = [track.track_id for track in read_tracks(folder, manifest)]
    cloud.requests()
    with cloud.faults(every=1, kinds=("slow",), match="GET .*tracks"):
        assert [track.track_id for track in read_tracks(folder, manifest)] == found
    assert len(found) == 60
    assert max(one["at_once"] for one in cloud.requests("GET", "tracks")) > 4


def test_tables_of_features_are_read_where_they_lie(folder):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fma_metadata/tracks.csv", tracks_csv())
        archive.writestr("fma_metadata/features.csv", features_csv())
    storage.write_bytes(f"{folder}/fma_metadata.zip", packed.getvalue())
    storage.write_bytes(f"{folder}/plain/features.csv", features_csv().encode())
    storage.write_bytes(f"{folder}/plain/tracks.csv", tracks_csv().encode())
    one = read_fma_table(f"{folder}/fma_metadata.zip", None, "medium")
    other = read_fma_table(f"{folder}/plain/features.csv", None, "medium")
    assert one.digest == other.digest
    assert len(one.track_ids) == 38
