import argparse
import gzip
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DATA
from trainers.classical.finished import evaluate_baselines
from trainers.classical.fma_tables import FLAT_COLUMNS, read_fma_table
from trainers.classical.models import load_model
from trainers.classical.table import group_columns
from trainers.commands import baselines
from trainers.runs.directory import read_metrics
from trainers.runs.predictions import read_predictions
from transforms.errors import FmaError, UsageError
from transforms.fma_statistics import COLUMNS

GENRES = ("Folk", "Rock")
SPLITS = ("training", "training", "training", "validation", "test")
AUDIO = FLAT_COLUMNS["audio_features"].split()
TRACKS = range(10, 50)


def values_of(track_id: int, columns: int) -> np.ndarray:
    """float32 [columns]; the genres, which take turns, differ in every second column."""
    values = np.random.default_rng(track_id).standard_normal(columns).astype(np.float32)
    values[::2] += 3 * (track_id % 2)
    return values


def tracks_csv() -> str:
    """As FMA writes it: three header rows; the last track is in no genre, the one before in no subset but full."""
    header = [
        ["", "album", "artist", "set", "set", "track", "track", "track", "track"],
        ["", "title", "name", "split", "subset", "duration", "genre_top", "license", "title"],
        ["track_id"] + [""] * 8,
    ]
    rows = [
        [str(i), "", f"artist {i // 2}", SPLITS[i % 5], "large" if i == 48 else "medium", "30", GENRES[i % 2], "", ""]
        for i in TRACKS
    ]
    rows[-1][6] = ""
    return "".join(",".join(row) + "\n" for row in header + rows)


def features_csv(tracks=TRACKS) -> str:
    """FMA's features.csv: feature, statistics, number, then the row that names the index."""
    header = [
        [title, *names]
        for title, names in zip(("feature", "statistics", "number"), zip(*COLUMNS, strict=True), strict=True)
    ]
    rows = [[str(i), *(f"{value:.10e}" for value in values_of(i, 518))] for i in tracks]
    return "".join(",".join(row) + "\n" for row in [*header, ["track_id"] + [""] * 518, *rows])


def echonest_csv() -> str:
    """FMA's echonest.csv, with fewer temporal features; a name with a comma in it."""
    names = [("audio_features", name) for name in AUDIO] + [
        ("metadata", "artist_name"),
        ("ranks", "song_currency_rank"),
    ]
    names += [("temporal_features", f"{i:03d}") for i in range(3)]
    header = [
        ["", *["echonest"] * len(names)],
        ["", *(group for group, _ in names)],
        ["", *(name for _, name in names)],
    ]
    rows = [
        [str(i), *map(str, values_of(i, 8)), f'"Duo, {i // 2}"', "", *map(str, values_of(i + 1000, 3))] for i in TRACKS
    ]
    return "".join(",".join(row) + "\n" for row in [*header, ["track_id"] + [""] * len(names), *rows])


@pytest.fixture
def metadata(tmp_path) -> Path:
    (tmp_path / "tracks.csv").write_text(tracks_csv())
    (tmp_path / "features.csv").write_text(features_csv())
    (tmp_path / "echonest.csv").write_text(echonest_csv())
    return tmp_path


@pytest.fixture
def zipped(metadata) -> str:
    path = metadata / "elsewhere" / "fma_metadata.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("tracks.csv", "features.csv", "echonest.csv"):
            archive.write(metadata / name, f"fma_metadata/{name}")
    return str(path)


def flat_files(folder: Path) -> str:
    """The flattened form: one header row, xz; genres in a file of their own, without a split."""
    rows = [f"{i},{','.join(map(str, values_of(i, 8)))},artist {i // 2},x\n" for i in TRACKS]
    with lzma.open(folder / "echonest.csv.xz", "wt") as file:
        file.write(f"track_id,{','.join(AUDIO)},artist_name,release\n" + "".join(rows))
    with lzma.open(folder / "fma_tracks_genres.csv.xz", "wt") as file:
        file.write("track_id,genres,genre_top\n" + "".join(f'{i},"[1, 2]",{GENRES[i % 2]}\n' for i in TRACKS[:-1]))
        file.write("49,[],\n")
    return str(folder / "echonest.csv.xz")


def test_features_are_joined_with_genre_split_and_artist(metadata):
    table = read_fma_table(str(metadata / "features.csv"), None, "medium")
    assert table.track_ids.tolist() == list(range(10, 48))  # 48 is not in medium, 49 has no genre
    assert table.columns == tuple("/".join(column) for column in COLUMNS)
    assert table.genres == list(GENRES) and table.default_group == "all"
    for row in (0, 37):
        track_id = int(table.track_ids[row])
        np.testing.assert_allclose(table.values[row], values_of(track_id, 518), rtol=1e-6)
        assert table.genres[table.labels[row]] == GENRES[track_id % 2]
        assert table.splits[row] == SPLITS[track_id % 5] and table.artists[row] == f"artist {track_id // 2}"


def test_the_zip_is_read_in_place_and_gives_the_same_table(metadata, zipped):
    folder, archive = (
        read_fma_table(str(metadata / "features.csv"), None, "large"),
        read_fma_table(zipped, None, "large"),
    )
    assert archive.digest == folder.digest and len(archive.labels) == 39


def test_rows_in_another_order_give_the_same_table(metadata):
    before = read_fma_table(str(metadata / "features.csv"), None, "medium")
    (metadata / "features.csv").write_text(features_csv(reversed(TRACKS)))
    assert read_fma_table(str(metadata / "features.csv"), None, "medium").digest == before.digest


def test_another_value_gives_another_digest(metadata):
    path = metadata / "features.csv"
    before = read_fma_table(str(path), None, "medium").digest
    path.write_text(path.read_text().replace(f"{values_of(12, 518)[5]:.10e}", "1.5"))
    assert read_fma_table(str(path), None, "medium").digest != before


def test_echonest_has_its_groups_and_leaves_ranks_and_text_out(zipped):
    table = read_fma_table(f"{zipped}!echonest.csv", None, "full")
    assert table.default_group == "audio_features" and len(table.columns) == 11
    assert [table.columns[i] for i in group_columns(table.columns, "audio_features")] == [
        f"audio_features/{n}" for n in AUDIO
    ]
    np.testing.assert_allclose(table.values[0, :8], values_of(10, 8), rtol=1e-6)
    np.testing.assert_allclose(table.values[0, 8:], values_of(1010, 3), rtol=1e-6)
    assert table.artists[0] == "artist 5"  # that of tracks.csv, where both know one


def test_the_flattened_echonest_takes_genres_from_beside_it_and_has_no_split(tmp_path):
    table = read_fma_table(flat_files(tmp_path))
    assert table.columns == tuple(f"audio_features/{name}" for name in AUDIO)
    assert set(table.splits) == {""} and table.artists[3] == "artist 6"


def test_a_gzipped_table_is_read(metadata):
    path = metadata / "features.csv.gz"
    path.write_bytes(gzip.compress((metadata / "features.csv").read_bytes()))
    assert len(read_fma_table(str(path), str(metadata), "medium").labels) == 38


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda text: text.replace("feature,", "features,", 1), "neither FMA's features.csv nor"),
        (lambda text: "\n".join(text.split("\n")[:2]), "ends before its values"),
        (lambda text: text.replace("track_id", "id", 1), "begins with track_id"),
        (lambda text: text[: text.rindex("e")] + "x\n", "features.csv"),
        (lambda text: text + text.rstrip("\n").rsplit("\n", 3)[1] + "\n", "twice"),
        (lambda text: "feature," * 1_000_000, "line 1: longer than 4 MiB"),
        (lambda text: text + "1" * 9_000_000, "line 45: longer than 4 MiB"),
    ],
)
def test_a_table_of_another_form_is_refused_in_one_line(metadata, broken, message):
    path = metadata / "features.csv"
    path.write_text(broken(path.read_text()))
    with pytest.raises(UsageError, match=message):
        read_fma_table(str(path), None, "full")


def test_a_genre_of_the_flat_form_that_cannot_be_shown_is_refused_with_its_line(tmp_path):
    path = flat_files(tmp_path)
    metadata = tmp_path / "fma_tracks_genres.csv.xz"
    text = lzma.decompress(metadata.read_bytes()).decode()
    metadata.write_bytes(lzma.compress(text.replace("Rock", "Ro\x1bck", 1).encode()))
    with pytest.raises(UsageError, match=r"line 3: genre 'Ro.*ck' has the control character"):
        read_fma_table(path)


def test_a_row_with_missing_values_is_refused_by_track(metadata):
    path = metadata / "features.csv"
    path.write_text(path.read_text().rsplit(",", 700)[0] + "\n")
    with pytest.raises(FmaError, match=r"track 4[678] has no finite number"):
        read_fma_table(str(path), None, "full")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("nothing.csv", "there is no tracks.csv|no such file"),
        ("nothing.zip", "no such file"),
        ("elsewhere/fma_metadata.zip!raw_echonest.csv", "holds no raw_echonest.csv"),
        ("damaged.zip", "damaged"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(metadata, zipped, features, message):
    (metadata / "damaged.zip").write_bytes(b"PK not a zip")
    with pytest.raises(UsageError, match=message):
        read_fma_table(str(metadata / features), str(metadata), "full")


def test_fmas_tracks_need_a_subset_and_the_flat_form_has_none(metadata):
    with pytest.raises(UsageError, match="--subset"):
        read_fma_table(str(metadata / "features.csv"))
    (metadata / "flat").mkdir()
    with pytest.raises(UsageError, match="--subset medium"):
        read_fma_table(flat_files(metadata / "flat"), None, "medium")


def run_command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    baselines.add_arguments(parser)
    return baselines.run(parser.parse_args([*words, "--jobs", "1"]))


def test_the_papers_table_can_be_repeated_from_the_zip(zipped, tmp_path):
    run = str(tmp_path / "run")
    words = ["--features-csv", zipped, "--subset", "medium", "--run", run, "--models", "gnb,knn"]
    assert run_command(*words, "--features-group", "mfcc", "mfcc+contrast") == 0
    found = read_metrics(run)["models"]
    assert list(found) == ["gnb@mfcc", "knn@mfcc", "gnb@mfcc+contrast", "knn@mfcc+contrast"]
    assert all(entry["per_track"]["accuracy"] >= 0.7 and entry["per_track"]["tracks"] == 7 for entry in found.values())


def test_without_a_split_each_track_is_tested_once_by_one_of_five_models_that_are_kept(tmp_path, capsys):
    run, features = str(tmp_path / "run"), flat_files(tmp_path)
    assert run_command("--features-csv", features, "--run", run, "--models", "gnb") == 0
    (entry,) = read_metrics(run)["models"].values()
    assert entry["per_track"]["tracks"] == 39 and len(entry["fits"]) == 5
    assert "accuracy by track, 5 folds by artist" in capsys.readouterr().out
    values, found = read_fma_table(features).values, read_predictions(run, "test")
    assert found.track_id.tolist() == list(TRACKS)[:-1]
    for fold, fit in enumerate(entry["fits"]):
        rows = found.fold == fold
        predicted = load_model(run, fit["file"]).predict(values[rows])
        assert found.log_probabilities["gnb"][rows].argmax(axis=1).tolist() == predicted.tolist()


def test_a_run_on_fmas_table_cannot_be_evaluated_on_a_dataset(tmp_path):
    assert run_command("--features-csv", flat_files(tmp_path), "--run", str(tmp_path / "run"), "--models", "gnb") == 0
    with pytest.raises(UsageError, match="its test results are in"):
        evaluate_baselines(str(tmp_path / "run"), "data")


@pytest.mark.long
def test_the_real_echonest_values_beat_the_majority_by_artist(tmp_path):
    path = DATA / "fma_real_metadata" / "echonest_13129x25.csv.xz"
    if not path.is_file():
        pytest.skip(f"the real Echonest values are not at {path}")
    assert run_command("--features-csv", str(path), "--run", str(tmp_path / "run"), "--models", "gnb") == 0
    (entry,) = read_metrics(str(tmp_path / "run"))["models"].values()
    support = [genre["support"] for genre in entry["per_track"]["genres"].values()]
    assert len(support) == 12 and entry["per_track"]["tracks"] == sum(support) == 9355
    assert max(support) / sum(support) == pytest.approx(0.416, abs=1e-3)
    assert entry["per_track"]["accuracy"] >= 0.54
