"""Everything on gs://, from audio to a trained model, while requests fail now and then: the same as on a local disk."""

import json

import pytest

import fma
from tests.gcs.corpus import SETTINGS, digest_of, ingest, upload
from tests.gcs.stack import BUCKET
from transforms import storage
from transforms.dataset import manifest as manifests
from transforms.dataset.ledger import read_tracks

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("cloud")]

ROOT = f"gs://{BUCKET}/whole"
FAULTS = ("503", "reset", "lost", "cut", "429", "slow")


@pytest.fixture(scope="module")
def grown(corpus, stand_in) -> tuple[str, int]:
    """The same dataset in the bucket, grown from small (folders) to medium (zips), and the faults that were met."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stand_in.environment.items():
            patch.setenv(name, value)
        upload(corpus, f"{ROOT}/corpus")
        assert ingest(f"{ROOT}/corpus", f"{ROOT}/dataset", "small") == 0
        with stand_in.faults(every=11, kinds=FAULTS) as met:
            assert ingest(f"{ROOT}/corpus", f"{ROOT}/dataset", "medium", packed=True) == 0
    return f"{ROOT}/dataset", met[0]


@pytest.fixture(scope="module")
def trained(grown, stand_in) -> tuple[str, int]:
    """A run in the bucket on that dataset, whose statistics it makes, and the faults that were met."""
    dataset, run = grown[0], f"{ROOT}/runs/mel_cnn"
    settings = ["--epochs", "1", "--batch-size", "8", "--width", "0.1", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stand_in.environment.items():
            patch.setenv(name, value)
        with stand_in.faults(every=61, kinds=("503", "reset", "slow")) as met:
            assert fma.main(["train", "mel_cnn", "--data", dataset, "--run", run, *settings]) == 0
    return run, met[0]


def test_growth_in_a_bucket_under_faults_gives_the_digest_of_a_local_run(grown, digests, corpus):
    dataset, met = grown
    assert met > 5
    assert digest_of(dataset) == digests["medium"]
    there, here = manifests.load(dataset).totals, manifests.load(str(corpus.parent / "dataset")).totals
    assert there["by_genre"] == here["by_genre"]
    assert there["failures"] == here["failures"]


def test_verify_reads_a_dataset_in_a_bucket(grown, capsys):
    capsys.readouterr()
    assert fma.main(["verify", grown[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_nothing_is_left_over_beside_what_the_manifest_lists(grown):
    listed = {file.path for file in manifests.load(grown[0]).files()}
    prefix = storage.join(grown[0], "")
    found = {path.removeprefix(prefix) for path, _ in storage.list_files(grown[0])}
    assert {path for path in found if not path.startswith("transform_fn/")} == {*listed, "dataset.json"}


def test_a_second_run_finds_nothing_new_and_writes_nothing(grown, capsys):
    before = storage.read_version(f"{grown[0]}/dataset.json")
    assert ingest(f"{ROOT}/corpus", grown[0], "medium", True) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing new, 0 new, 43 kept, 0 bytes rewritten"
    assert storage.read_version(f"{grown[0]}/dataset.json") == before


def test_a_run_in_a_bucket_is_whole(trained, cloud):
    assert trained[1] > 5
    names = {name.removeprefix("whole/runs/mel_cnn/") for name in cloud.names("whole/runs/mel_cnn/")}
    assert {"config.json", "state.json", "history.csv", "model.keras", "metrics.json"} <= names
    assert any(name.startswith("logs/train/events") for name in names)
    assert not any("tmp" in name for name in names)
    assert not [name for name in names if name.startswith("backup/") and not name.startswith("backup/epoch-0001")]


def test_the_same_command_again_has_nothing_to_do(trained, grown, capsys):
    settings = ["--epochs", "1", "--batch-size", "8", "--width", "0.1", "--device", "cpu"]
    assert fma.main(["train", "mel_cnn", "--data", grown[0], "--run", trained[0], *settings]) == 0
    assert "from epoch 1 of 1" in capsys.readouterr().out


def test_a_model_in_a_bucket_is_evaluated(trained, grown, capsys):
    capsys.readouterr()
    assert fma.main(["evaluate", trained[0], "--data", grown[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["per_track"]["tracks"] == 9


def test_classical_models_live_in_a_bucket_too(grown, capsys):
    run = f"{ROOT}/runs/baselines"
    assert fma.main(["baselines", "--data", grown[0], "--run", run, "--models", "gnb", "--jobs", "1"]) == 0
    assert storage.exists(f"{run}/models/gnb.skops")
    assert fma.main(["evaluate", run, "--data", grown[0]]) == 0


def test_a_report_of_a_run_in_a_bucket_goes_to_a_bucket(trained, grown):
    page = f"{ROOT}/report.html"
    assert fma.main(["report", trained[0], "--data", grown[0], "--out", page]) == 0
    assert b"mel_cnn" in storage.read_bytes(page)


def test_a_song_on_this_machine_is_judged_by_a_model_in_a_bucket(trained, grown, corpus, capsys):
    # A track that the dataset holds, so that it is not one of the corpus' broken ones.
    known = {f"{track.track_id:06d}.mp3" for track in read_tracks(grown[0], manifests.load(grown[0]))}
    song = next(path for path in sorted((corpus / "audio").rglob("*.mp3")) if path.name in known)
    capsys.readouterr()
    assert fma.main(["predict", trained[0], str(song), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["file"].endswith(song.name)
    assert "error" not in answer


def test_all_of_it_in_one_command_works_in_a_bucket_and_has_nothing_to_do_then(grown, capsys):
    paths = ["--audio", f"{ROOT}/corpus/audio", "--metadata", f"{ROOT}/corpus/fma_metadata", "--subset", "small"]
    command = ["run", *paths, "--out", f"{ROOT}/work", *SETTINGS, "--models", "baselines"]
    command += ["--options", "baselines=--models gnb --jobs 1"]
    assert fma.main(command) == 0
    assert storage.exists(f"{ROOT}/work/report.html")
    before = {path: storage.fingerprint(path) for path, _ in storage.list_files(f"{ROOT}/work")}
    assert fma.main(command) == 0
    assert {path: storage.fingerprint(path) for path, _ in storage.list_files(f"{ROOT}/work")} == before


def test_pictures_go_to_a_bucket(grown):
    sheet = f"{ROOT}/mels.png"
    assert fma.main(["show", grown[0], "--sheet", sheet]) == 0
    assert storage.read_bytes(sheet).startswith(b"\x89PNG")


def test_compaction_in_a_bucket_keeps_the_digest(grown, digests, capsys):
    copy = f"{ROOT}/copy"
    for path, _ in storage.list_files(grown[0]):
        storage.write_bytes(copy + path.removeprefix(grown[0]), storage.read_bytes(path))
    assert fma.main(["compact", copy, "--remove-old"]) == 0
    assert "before: 2 generations; now: 1" in capsys.readouterr().out
    assert digest_of(copy) == digests["medium"]
    assert fma.main(["verify", copy]) == 0
