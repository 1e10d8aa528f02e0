import pytest

from transforms import storage
from transforms.config import DatasetConfig
from transforms.dataset.growth import Growth, locked, open_or_create, plan_growth
from transforms.dataset.leftovers import announce
from transforms.dataset.manifest import Manifest, commit
from transforms.errors import FmaError, UsageError
from transforms.tracks import Track


def track(track_id: int, genre: str) -> Track:
    return Track(track_id, genre, "training")


def growth_of(folder, genres: list[str], *tracks: Track, **held) -> Growth:
    manifest = Manifest(DatasetConfig(), genres)
    return plan_growth(str(folder), manifest, list(tracks), frozenset(track.track_id for track in tracks), **held)


def test_labels_of_a_first_run_are_in_order_of_their_names(tmp_path):
    assert growth_of(tmp_path, [], track(1, "Rock"), track(2, "Folk"), track(3, "Rock")).labels == ["Folk", "Rock"]


def test_new_labels_come_behind_the_old_ones_so_that_no_id_shifts(tmp_path):
    new = [track(1, "Blues"), track(2, "Rock"), track(3, "Ambient"), Track(4, "", "test", genres=("Acid", "Dub"))]
    growth = growth_of(tmp_path, ["Folk", "Rock"], *new)
    assert growth.labels == ["Folk", "Rock", "Ambient", "Blues"]
    assert list(growth.genres) == ["Folk", "Rock", "Acid", "Ambient", "Blues", "Dub"]


def test_everything_is_new_to_a_new_dataset(tmp_path):
    growth = plan_growth(str(tmp_path), Manifest(DatasetConfig()), [track(1, "Rock")], frozenset({1}))
    assert (len(growth.new), growth.kept, growth.failed, growth.labels) == (1, 0, 0, ["Rock"])
    assert not growth.changed + growth.vanished


def test_a_dataset_with_other_settings_is_refused(tmp_path):
    commit(str(tmp_path), Manifest(DatasetConfig(n_mels=64)))
    with pytest.raises(UsageError, match="n_mels is 64, not 224"):
        open_or_create(str(tmp_path), DatasetConfig())


@pytest.mark.parametrize(
    "theirs", ["song.mp3", "raw/take1.wav", "tracks/0001/song.mp3", "mel/0001-c0ffee00/thesis.doc", "plan/notes.txt"]
)
def test_a_folder_that_holds_something_else_is_refused(tmp_path, theirs):
    (tmp_path / theirs).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / theirs).write_text("dear to somebody")
    with pytest.raises(UsageError, match=f"is not empty and holds no dataset .it holds {theirs}."):
        open_or_create(str(tmp_path), DatasetConfig())
    assert (tmp_path / theirs).read_text() == "dear to somebody"


def test_what_a_run_left_that_never_came_to_commit_is_no_obstacle(tmp_path):
    announce(str(tmp_path), "0001-c0ffee00", ["mel/0001-c0ffee00/test-00000-of-00001.tfrecord"])
    staged = storage.staging_path(f"{tmp_path}/mel/0001-c0ffee00/test-00000-of-00001.tfrecord")
    for path in (".lock", "plan/0001-c0ffee00/plan.jsonl", staged):
        (tmp_path / path).touch()
    assert open_or_create(str(tmp_path), DatasetConfig()).generations == []


def test_a_second_writer_is_told_of_the_first(tmp_path):
    with locked(str(tmp_path)), pytest.raises(FmaError, match="another command is writing"), locked(str(tmp_path)):
        pass
    with locked(str(tmp_path)):
        pass


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "thesis.doc").write_text("dear to somebody")
    (tmp_path / "data").mkdir()
    for target in ("../thesis.doc", "../absent"):
        (tmp_path / "data" / ".lock").unlink(missing_ok=True)
        (tmp_path / "data" / ".lock").symlink_to(target)
        with pytest.raises(FmaError, match=r"/data/\.lock: a link, not a file: remove it"), locked(f"{tmp_path}/data"):
            pass
    assert (tmp_path / "thesis.doc").read_text() == "dear to somebody"
    assert not (tmp_path / "absent").exists()
