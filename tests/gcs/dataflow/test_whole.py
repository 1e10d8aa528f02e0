"""`fma verify` and `fma compact` with Dataflow's workers, on a dataset in a bucket."""

import json

import pytest

import fma
from tests.gcs.corpus import SETTINGS, digest_of
from tests.gcs.dataflow.test_submit import dataflow
from transforms import storage
from transforms.dataset.growth import locked
from transforms.dataset.manifest import load

pytestmark = pytest.mark.long


@pytest.fixture
def dataset(corpus, folder) -> str:
    """Two generations in the bucket."""
    paths = ["--audio", str(corpus / "audio"), "--metadata", str(corpus / "fma_metadata"), "--out", f"{folder}/out"]
    for subset in ("small", "medium"):
        words = ["ingest", *paths, "--subset", subset, *SETTINGS, "--direct_running_mode=in_memory"]
        assert fma.main(words) == 0
    return f"{folder}/out"


def files_of(dataset: str) -> dict[str, str]:
    return {path: storage.fingerprint(path) for path, _ in storage.list_files(dataset)}


def test_the_verdict_is_that_of_this_machine_and_nothing_stays_in_the_bucket(dataset, service, capsys):
    storage.remove(storage.join(dataset, load(dataset).shards("mel")[1].path))
    before = files_of(dataset)
    capsys.readouterr()
    assert fma.main(["verify", dataset, "--json"]) == 1
    here = json.loads(capsys.readouterr().out)
    assert fma.main(["verify", dataset, "--json", *dataflow(service)]) == 1
    assert json.loads(capsys.readouterr().out) == here
    assert [job["name"].rpartition("-0000-")[0] for job in service.jobs] == ["fma-verify"]
    assert files_of(dataset) == before


def test_the_leaks_are_found_there_too(dataset, service, capsys):
    assert fma.main(["verify", dataset, "--json"]) == 0
    here = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert fma.main(["verify", dataset, "--json", *dataflow(service)]) == 0
    assert json.loads(capsys.readouterr().out) == here
    assert len(service.jobs) == 2


def test_compaction_keeps_the_digest(dataset, service, digests, capsys):
    assert fma.main(["compact", dataset, "--remove-old", *dataflow(service)]) == 0
    assert "before: 2 generations; now: 1" in capsys.readouterr().out
    assert digest_of(dataset) == digests["medium"]
    assert fma.main(["verify", dataset]) == 0
    assert [job["name"][:11] for job in service.jobs] == ["fma-compact"] * 2
    assert not storage.exists(f"{dataset}/plan")


def test_while_another_command_writes_its_files_stay_out_of_the_bucket(dataset, service, capsys):
    with locked(dataset):
        assert fma.main(["verify", dataset, *dataflow(service)]) == 1
    assert f"another command is writing to {dataset}" in capsys.readouterr().err
    assert service.jobs == []


def test_a_dataset_on_this_machine_is_refused(tmp_path, corpus, digests, service, capsys):
    assert fma.main(["verify", str(corpus.parent / "dataset"), *dataflow(service)]) == 2
    assert "Dataflow's workers do not see this machine's files" in capsys.readouterr().err
