"""`fma report`: what is compared, what is refused, and what the page says."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

import fma
from tests.trainers.finished_runs import GENRES, guesses, write_run
from tests.trainers.synthetic import write_dataset
from trainers.evaluation.metrics import wilson
from trainers.report import html, leaks
from trainers.report.collect import compare, model_names, read_runs
from trainers.report.dataset import read_facts
from trainers.report.leaderboard import standings, verdicts
from trainers.report.listening import Listening
from trainers.report.mistakes import confused_pairs, hard_rows, mistakes
from trainers.runs.directory import RunConfig, create_run, write_metrics
from trainers.runs.files import write_json
from trainers.runs.predictions import RunPredictions, read_predictions, write_predictions
from trainers.serving.robustness import score
from transforms import storage
from transforms.audio.alterations import ALTERATIONS
from transforms.dataset.leaks import Leak
from transforms.dataset.manifest import load
from transforms.errors import FmaError, UsageError
from transforms.tracks import Track

EVIL = '<script>alert("1")</script> & Söhne'


class Parsed(HTMLParser):
    """A page's tags, attributes and text, and whether its elements are closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def report(out, *arguments: str) -> str:
    """Runs the command and returns the page."""
    assert fma.main(["report", *map(str, arguments), "--out", str(out)]) == 0
    return out.read_text()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """A dataset of three genres; its test tracks have the ids 17 to 28."""
    folder = str(tmp_path_factory.mktemp("report") / "data")
    write_dataset(folder, ("mel", "stats"), GENRES, {"training": 12, "validation": 4, "test": 12})
    return folder


@pytest.fixture
def runs(data, tmp_path) -> list[str]:
    """One Keras run and one of baselines on that dataset."""
    of = {"dataset": data, "digest": load(data).digest, "track_id": range(17, 29)}
    deep = write_run(tmp_path / "mel_cnn", skill=4.0, **of)
    return [deep, write_run(tmp_path / "baselines", ("svm", "gnb"), skill=2.0, seed=5, **of)]


def test_the_page_says_which_model_is_best_and_how_sure_that_is(runs, tmp_path, capsys):
    page = Parsed(report(tmp_path / "r.html", *runs))
    assert not page.open
    for words in (
        "Which model is best",
        "Wilson",
        "McNemar",
        "Holm",
        "svm",
        "gnb",
        "scored on the same 12 test tracks",
    ):
        assert words in page.text
    comparison = compare(read_runs(runs)[0])
    best = standings(comparison)[0]
    assert f"{best.model.name} is best: right on {best.model.right.sum()} of 12 test tracks" in page.text
    out = capsys.readouterr().out
    assert best.model.name in out.splitlines()[3]
    assert f"report: {tmp_path / 'r.html'}" in out


@pytest.mark.parametrize(
    ("shift", "tracks", "said"),
    [
        (0, {}, "mel_cnn. Its validation vouches for most, 100.0% of 4 tracks"),
        (1, {}, "gnb. Its validation vouches for most, 75.0%; no"),
        (0, {"tracks": 8}, "mel_cnn"),
        (0, {"tracks": 48}, "gnb. Its validation vouches for most, 75.0% of 48 tracks"),
    ],
)
def test_the_model_to_use_is_the_one_that_validation_chooses_and_four_tracks_vouch_for_less(
    runs, tmp_path, shift, tracks, said
):
    deep, classical = runs
    assert "To be used" not in report(tmp_path / "r.html", *runs)
    label = np.arange(4) % 3
    right = {"mel_cnn": guesses((label + shift) % 3, 3, 50.0, 0)}
    write_predictions(deep, "validation", RunPredictions(np.arange(13, 17), label, list(GENRES), right, 0 * label))
    fits = {"svm": {"log_loss": 0.9, "accuracy": 1.0}, "gnb": {"log_loss": 0.8, "accuracy": 0.75}}
    entries = {name: {"fits": [{"file": "config.json", "validation": found | tracks}]} for name, found in fits.items()}
    write_metrics(classical, {"models": entries})
    assert f"To be used: {said}" in Parsed(report(tmp_path / "r.html", *runs)).text


def test_what_nothing_is_known_of_is_a_dash_and_a_genre_that_is_never_answered_is_named(tmp_path):
    of_genres = np.log(np.eye(len(GENRES), dtype=np.float32)[[0] * 8] * 0.9 + 0.03)  # all of them are the first genre
    run = write_run(tmp_path / "run", track_id=range(8), label=[0] * 6 + [1] * 2, values={"mel_cnn": of_genres})
    text = Parsed(report(tmp_path / "r.html", run)).text
    assert "F1 by genre; –: no test tracks" in text
    never = ", ".join(GENRES[1:])
    assert f"mel_cnn takes no test track for {never}." in text
    assert f"{GENRES[2]}0–––" in text  # no tracks, and no precision, recall or F1
    assert f"{GENRES[1]}2–0.000.00" in text  # of its two tracks none is found


def test_every_section_is_there_and_linked(runs, tmp_path):
    text = report(tmp_path / "r.html", *runs, "--show-leakage")
    anchors = {name for key, name in Parsed(text).attributes if key == "id"}
    links = {name for key, name in Parsed(text).attributes if key == "href" and name.startswith("#")}
    assert {link.removeprefix("#") for link in links} <= anchors
    for section in (
        "leaderboard",
        "genres",
        "confusion",
        "mistakes",
        "calibration",
        "curves",
        "dataset",
        "leaks",
        "runs",
    ):
        assert f"#{section}" in links
    assert "split by window" not in report(tmp_path / "plain.html", *runs)
    assert "Dividing at random by window would have claimed" in text


def test_the_page_is_the_same_when_made_twice(runs, tmp_path):
    first = report(tmp_path / "a.html", *runs, "--show-leakage")
    assert report(tmp_path / "b.html", *runs, "--show-leakage") == first


def test_the_page_needs_nothing_from_elsewhere(runs, tmp_path):
    text = report(tmp_path / "r.html", *runs, "--show-leakage")
    page = Parsed(text)
    assert "script" not in page.tags
    assert "default-src &#x27;none&#x27;" in text
    addresses = [value for key, value in page.attributes if key in ("src", "href", "xlink:href", "action")]
    assert all(address.startswith(("#", "data:image/png;base64,")) or address == "data:," for address in addresses)
    assert "url(" not in text and "@import" not in text


def test_accuracies_are_those_that_the_runs_have_measured(finished, dataset, tmp_path):
    page = Parsed(report(tmp_path / "r.html", finished))
    measured = json.loads((finished / "metrics.json").read_text())["test"]["per_track"]
    (model,) = compare(read_runs([str(finished)])[0]).models
    assert model.scores == {key: measured[key] for key in model.scores} | {
        "calibration_error": pytest.approx(measured["calibration_error"], abs=1e-5)
    }
    assert f"tiny is right on {round(measured['accuracy'] * 6)} of 6 test tracks" in page.text
    assert str(dataset) in page.text


def test_the_interval_is_the_one_that_training_and_evaluation_say(finished, dataset, tmp_path, capsys):
    measured = json.loads((finished / "metrics.json").read_text())["test"]["per_track"]
    assert measured["interval"] == list(wilson(round(6 * measured["accuracy"]), 6))
    run = shutil.copytree(finished, tmp_path / "run")
    assert fma.main(["train", "tiny", "--data", str(dataset), "--run", str(run), "--device", "cpu"]) == 0
    assert fma.main(["evaluate", str(run), "--data", str(dataset), "--device", "cpu"]) == 0
    said = "{:.3f} +{:.3f} to {:.3f} ".format(measured["accuracy"], *measured["interval"])
    assert len(re.findall(rf"test +6 +{said}", capsys.readouterr().out)) == 2
    low, high = (100 * bound for bound in measured["interval"])
    assert f"{low:.1f} to {high:.1f}%" in report(tmp_path / "r.html", run)


def test_all_models_are_scored_on_the_tracks_that_all_runs_have(tmp_path, capsys):
    one = write_run(tmp_path / "one", track_id=range(1, 31))
    other = write_run(tmp_path / "other", ("svm",), track_id=range(4, 34))
    comparison = compare(read_runs([one, other])[0])
    np.testing.assert_array_equal(comparison.track_id, np.arange(4, 31))
    assert all(len(model.right) == 27 for model in comparison.models)
    page = Parsed(report(tmp_path / "r.html", one, other))
    assert "tested on different tracks, 30 each; here all are scored on the 27 in common" in page.text
    assert "compared on the 27 that all have" in capsys.readouterr().err


def test_genres_are_matched_by_name(tmp_path):
    label = [0, 1, 2] * 4
    perfect = np.log(np.eye(3)[label] * 0.97 + 0.01).astype(np.float32)
    one = write_run(tmp_path / "one", track_id=range(12), label=label, values={"cnn": perfect})
    turned = [2, 0, 1]  # where Folk, Jazz and Rock stand in the other run
    other = write_run(
        tmp_path / "other",
        ("svm",),
        track_id=range(12),
        genres=("Jazz", "Rock", "Folk"),
        label=[turned[i] for i in label],
        values={"svm": perfect[:, [1, 2, 0]]},
    )
    comparison = compare(read_runs([one, other])[0])
    assert comparison.genres == list(GENRES)
    for model in comparison.models:
        assert model.right.all()
        np.testing.assert_array_equal(model.predicted, label)


def test_a_genre_that_a_model_does_not_know_counts_as_a_mistake(tmp_path):
    ids, label = range(12), [0, 1, 2] * 4
    all_three = write_run(tmp_path / "three", track_id=ids, label=label, skill=9.0)
    small = write_run(
        tmp_path / "two", ("svm",), track_id=[0, 1, 3, 4], genres=GENRES[:2], label=[0, 1, 0, 1], skill=9.0
    )
    comparison = compare(read_runs([all_three, small])[0])
    assert len(comparison.track_id) == 4
    probabilities = np.exp(comparison.models[1].log_probabilities)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert {model.log_probabilities.shape for model in comparison.models} == {(4, 3)}


def test_runs_of_other_datasets_are_refused_unless_their_test_tracks_are_the_same(tmp_path, capsys):
    one = write_run(tmp_path / "one")
    same = write_run(tmp_path / "same", ("svm",), digest="b" * 64)
    assert len(compare(read_runs([one, same])[0]).track_id) == 60
    other = write_run(tmp_path / "other", ("svm",), digest="c" * 64, track_id=range(110, 170))
    assert fma.main(["report", one, other, "--out", str(tmp_path / "r.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "different test tracks (60 and 60, 50 in both)" in line
    assert "aaaaaaaaaaaa and cccccccccccc" in line
    assert not (tmp_path / "r.html").exists()


def test_a_track_with_two_truths_is_refused(tmp_path):
    one = write_run(tmp_path / "one", track_id=range(3), label=[0, 1, 2])
    other = write_run(tmp_path / "other", ("svm",), track_id=range(3), label=[0, 2, 2])
    with pytest.raises(UsageError, match=r"track 1 is Jazz in .*one and Rock in .*other"):
        compare(read_runs([one, other])[0])


def test_runs_without_a_common_track_are_refused(tmp_path):
    one = write_run(tmp_path / "one", track_id=range(3))
    other = write_run(tmp_path / "other", track_id=range(3, 6))
    with pytest.raises(UsageError, match="no test track in common"):
        compare(read_runs([one, other])[0])


def test_a_run_without_predictions_is_one_line(tmp_path):
    create_run(str(tmp_path), RunConfig("mel_cnn", {}, 0, {"path": "data/x", "digest": "", "config": {}}, [], [], {}))
    with pytest.raises(FmaError, match=r"no test predictions yet.*fma evaluate .* --data data/x --split test"):
        read_runs([str(tmp_path)])


def test_a_run_that_is_named_twice_is_compared_once(runs):
    assert len(read_runs([runs[0], runs[0] + "/"])[0]) == 1


def test_models_of_the_same_name_are_told_apart_by_their_runs(tmp_path):
    paths = [tmp_path / name for name in ("mel_cnn-0", "mel_cnn-1", "first", "a/run", "b/run")]
    found, _ = read_runs([write_run(path, ("gnb", "svm") if path.name == "run" else ("mel_cnn",)) for path in paths])
    a, b = tmp_path / "a/run", tmp_path / "b/run"
    of_folders = [f"gnb ({a})", f"svm ({a})", f"gnb ({b})", f"svm ({b})"]
    assert model_names(found) == ["mel_cnn-0", "mel_cnn-1", "mel_cnn (first)", *of_folders]
    assert model_names(found[:1]) == ["mel_cnn"]


def test_what_users_wrote_stays_text(tmp_path):
    data = str(tmp_path / "data")
    manifest = write_dataset(data, ("mel",), (EVIL, "Rock"), {"training": 4, "test": 12})
    facts = {"dataset": data, "digest": manifest.digest, "genres": (EVIL, "Rock"), "track_id": range(5, 17)}
    runs = [
        write_run(tmp_path / "a<b>", skill=0.5, **facts),
        write_run(tmp_path / "b", ("<i>svm",), skill=0.5, **facts),
    ]
    page = Parsed(report(tmp_path / "r.html", *runs))
    assert EVIL in page.text
    assert "<i>svm" in page.text
    assert not {"script", "i", "b"} & set(page.tags)
    ledger = {i: Track(i, "Rock", "test", title=EVIL, artist='"><img src=x>') for i in range(5, 17)}
    found = Parsed(mistakes(compare(read_runs(runs)[0]), Listening(ledger), data))
    assert EVIL in found.text and '"><img src=x>' in found.text
    assert not {"script", "img"} & set(found.tags)
    leak = Leak("artist", EVIL, {"training": [1], "test": [2]})
    assert "script" not in Parsed(leaks.leak_audit([leak], None)).tags
    assert html.element("a", EVIL, title=EVIL).count("<") == 2


def test_without_its_dataset_the_page_says_what_is_missing(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    page = Parsed(report(tmp_path / "r.html", run))
    assert "There is no dataset at gone" in page.text
    assert "--data DATASET" in page.text
    assert "Leak audit" not in page.text
    assert "no dataset card" in capsys.readouterr().err
    assert fma.main(["report", run, "--out", str(tmp_path / "r.html"), "--show-leakage"]) == 2
    assert "not at gone any more" in capsys.readouterr().err
    assert fma.main(["report", run, "--out", str(tmp_path / "r.html"), "--data", str(tmp_path)]) == 2
    assert "is not a dataset" in capsys.readouterr().err


def test_a_dataset_that_has_changed_since_is_pointed_out(runs, data, tmp_path):
    moved = shutil.copytree(data, tmp_path / "moved")
    assert "as it was when the models were trained" in Parsed(report(tmp_path / "a.html", *runs, "--data", moved)).text
    write_dataset(tmp_path / "other", ("mel",), GENRES, {"training": 6, "test": 6})
    page = Parsed(report(tmp_path / "b.html", *runs, "--data", tmp_path / "other"))
    assert "describes the dataset of today, not the one of the training" in page.text


def test_the_dataset_card_counts_what_the_dataset_holds(data, runs, tmp_path):
    facts = read_facts(data, load(data), {17})
    assert sum(facts.genres.values()) == 28
    assert facts.genres["Folk", "training"] == 4
    assert facts.licences == {"not stated": 28}
    assert list(facts.tracks) == [17]
    text = Parsed(report(tmp_path / "r.html", *runs)).text
    assert "28 mel" not in text and "56 mel, 28 stats" in text


@pytest.mark.long
def test_failures_and_licences_of_the_real_sample_are_listed(fma_sample, tmp_path):
    data = str(tmp_path / "data")
    ingest = ["--audio", f"{fma_sample}/audio", "--metadata", f"{fma_sample}/fma_metadata", "--subset", "small"]
    options = ["--features", "mel", "--max-failures", "10", "--out", data, "--workers", "1"]
    assert fma.main(["ingest", *ingest, *options]) == 0
    manifest = load(data)
    test = read_facts(data, manifest, range(200_000)).tracks
    ids = sorted(i for i, line in test.items() if line.split == "test")
    label = [manifest.labels.index(test[i].genre) for i in ids]
    run = write_run(
        tmp_path / "run",
        dataset=data,
        digest=manifest.digest,
        genres=manifest.labels,
        track_id=ids,
        label=label,
        skill=1,
    )
    text = Parsed(report(tmp_path / "r.html", run, "--show-leakage")).text
    for words in ("truncated_audio", "not_in_subset", "CC BY-NC-SA 3.0", "nothing is on both sides", "small"):
        assert words in text
    claims = re.search(r"would have claimed ([\d.]+) points more", text)
    assert claims and float(claims[1]) > 5


def test_the_most_confused_pairs_name_their_tracks(tmp_path):
    label = [0] * 6 + [1] * 6
    said = [0, 0, 0, 1, 1, 1] + [1] * 5 + [0]
    values = np.log(np.eye(2)[said] * 0.8 + 0.1).astype(np.float32)
    values[4] = np.log([0.01, 0.99])
    run = write_run(tmp_path / "r", genres=GENRES[:2], track_id=range(12), label=label, values={"cnn": values})
    comparison = compare(read_runs([run])[0])
    (first, second) = confused_pairs(comparison)
    assert first[:2] == (0, 1) and second[:2] == (1, 0)
    assert first[2].tolist() == [4, 3, 5], "the surest mistake comes first"
    assert sorted(hard_rows(comparison).tolist()) == [3, 4, 5, 11]
    other = np.log(np.eye(2)[[0, 0, 0, 0, 1, 1] + [1] * 6] * 0.8 + 0.1).astype(np.float32)
    second_run = write_run(tmp_path / "s", genres=GENRES[:2], track_id=range(12), label=label, values={"svm": other})
    assert sorted(hard_rows(compare(read_runs([run, second_run])[0])).tolist()) == [4, 5]
    tracks = {
        4: Track(4, "Folk", "test", title="A Song", artist="Somebody"),
        5: Track(5, "Folk", "test", id_text="folk/b-17.mp3"),
    }
    text = Parsed(mistakes(comparison, Listening(tracks), "my data")).text
    assert "Folk taken for Jazz" in text and "A Song, Somebody (4)" in text and "track 3" in text
    assert "track folk/b-17.mp3" in text and "track 5" not in text
    assert "fma explain 'my data' TRACK_ID" in text


def test_a_perfect_model_makes_no_mistakes(tmp_path):
    run = write_run(tmp_path / "r", skill=99.0)
    text = Parsed(report(tmp_path / "r.html", run)).text
    assert "mel_cnn makes none on these tracks" in text
    assert "100.0%" in text


def test_verdicts_tell_what_is_worse_from_what_is_too_close(tmp_path):
    ids = range(400)
    good = write_run(tmp_path / "good", ("good",), track_id=ids, skill=4.0)
    near = write_run(tmp_path / "near", ("near",), track_id=ids, skill=3.9, seed=1)
    bad = write_run(tmp_path / "bad", ("bad",), track_id=ids, skill=0.0, seed=2)
    comparison = compare(read_runs([bad, near, good])[0])
    places = standings(comparison)
    assert [place.model.name for place in places][-1] == "bad"
    assert [place.worse for place in places] == [False, False, True]
    said = " ".join(verdicts(comparison, places))
    assert "beyond chance: bad." in said
    assert "too few to tell near from good" in said or "too few to tell good from near" in said
    assert "bad may be no better than that" in said


def test_leaks_are_named(tmp_path):
    found = [
        Leak("artist", "Somebody", {"training": [1, 2, 3, 4, 5], "test": [9]}),
        Leak("recording", "tracks 7 and 8", {"validation": [7], "test": [8]}),
    ]
    text = Parsed(leaks.leak_audit(found, None)).text
    assert "Somebody (training: 1, 2, 3 and 2 more; test: 9)" in text
    assert "1 artist and 1 near duplicate on both sides of a split" in leaks.remark(found)
    assert "nothing is on both sides" in leaks.remark([])


def test_the_page_is_written_through_storage(runs, tmp_path, monkeypatch):
    written, write, out = {}, storage.write_bytes, str(tmp_path / "r.html")
    monkeypatch.setattr(storage, "write_bytes", lambda path, data: (written.update({path: data}), write(path, data)))
    assert fma.main(["report", *runs, "--out", out]) == 0
    assert written[out].startswith(b"<!doctype html>")


def test_markup_closes_and_escapes():
    assert html.element("p", "a < b", None, ["c", html.element("br")]) == "<p>a &lt; bc<br></p>"
    assert html.element("rect", x=1.23456, hidden=True, class_=None, y=0.0) == '<rect x="1.23" hidden y="0"/>'
    assert html.points(-0.2049) == "−20.5" and html.points(0.0001) == "0.0" and html.points(0.05) == "+5.0"
    assert html.p_value(0.0004) == "< .001" and html.p_value(0.0433) == ".043" and html.p_value(1.0) == "1.000"
    assert html.listing(list("abcdefgh")) == "a, b, c, d, e and 3 more"
    assert guesses(np.array([0]), 2, 1.0, 0).dtype == np.float32


def test_foreign_sound_is_a_section_where_it_was_measured(runs, tmp_path):
    page = report(tmp_path / "before.html", *runs)
    assert "Foreign sound" not in page
    rows = {str(track): [track % 3] + [track % 3] * len(ALTERATIONS) for track in range(50)}
    for track in range(20):
        rows[str(track)][1 + list(ALTERATIONS).index("mp3")] = 3  # another answer, and a wrong one
    model = read_predictions(runs[0], "test").models[0]
    entry = {"tracks": rows, "scores": score(rows)}
    write_json(runs[0], "robustness/test.json", {"models": {model: entry}})
    page = Parsed(report(tmp_path / "after.html", *runs))
    assert "Foreign sound" in page.text
    assert "40% · 60%" in page.text
    assert "accuracy on 50 test songs" in page.text
    assert "Not measured: " in page.text
