"""The Airflow DAG, in Airflow's own environment: `make test-airflow` makes it (.venv-airflow) and runs this file.

It takes minutes, so it is not part of `make test`, also where the environment is there.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.deploy.fake_gcloud import DEPLOY, ROOT
from transforms.corpus.options import CorpusOptions
from transforms.corpus.writer import write_corpus
from transforms.dataset.manifest import load

AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"
PYTHON = AIRFLOW.with_name("python")
FOLDER = DEPLOY / "airflow"

pytestmark = [
    pytest.mark.skipif("FMA_TEST_AIRFLOW" not in os.environ, reason="takes minutes: make test-airflow runs it"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Airflow's home, with a database and the DAG as the only one."""
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(FOLDER / "fma_genres_dag.py", dags)
    return folder


def in_airflow(home, *command: str, settings=FOLDER / "fma_genres.json") -> subprocess.CompletedProcess:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "FMA_DAG_SETTINGS": str(settings),
    }
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=900)


def described(home) -> dict:
    ran = in_airflow(home, str(PYTHON), str(FOLDER / "describe.py"))
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_the_dag_loads_and_its_trainers_stand_side_by_side(home):
    tasks = described(home)
    trainers = {"mel_cnn", "mobilenet_v2", "waveform_resnet", "baselines"}
    gone = {f"{name}_vm_gone": name for name in trainers - {"baselines"}}
    assert set(tasks) == {"ingest", "state", "statistics", "report"} | trainers | set(gone)
    assert all((tasks[name]["after"], tasks[name]["rule"]) == ([trainer], "all_done") for name, trainer in gone.items())
    assert tasks["ingest"]["after"] == []
    assert tasks["state"]["after"] == ["ingest"]
    assert tasks["statistics"]["after"] == ["state"]
    assert all(tasks[name]["after"] == ["statistics"] for name in trainers)
    assert tasks["report"]["after"] == sorted(trainers)
    assert all(one["retries"] == 2 for one in tasks.values())


def test_in_the_cloud_each_step_is_a_build_that_could_be_run_by_hand(home):
    tasks = described(home)
    builds = {name: one["build"]["steps"][0] for name, one in tasks.items() if one["build"]}
    assert {one["operator"] for name, one in tasks.items() if name != "state"} == {"CloudStep"}
    ingest, train = (builds[name]["args"][-1] for name in ("ingest", "mel_cnn"))
    from fma import parse
    from pipelines.runners.options import reject_unknown_options

    for name in ("ingest", "statistics", "baselines", "report"):
        words = builds[name]["args"][-1].replace("{{ ti.xcom_pull(task_ids='state') }}", "1a2b").split()
        _, args = parse(words[1], words[2:])
        reject_unknown_options(getattr(args, "beam_options", []))
    assert "--runner DataflowRunner" in ingest
    assert train.index("sha256sum --check") < train.index("tar -xzf")
    accounts = {
        name: one["build"]["service_account"].split("/")[-1].split("@")[0]
        for name, one in tasks.items()
        if one["build"]
    }
    assert {name for name, account in accounts.items() if account == "fma-worker"} == {"baselines", "report"}
    script, words = train[train.index("deploy/tpu/train.sh") :].split(" -- ")
    offered = (DEPLOY / "tpu" / "train.sh").read_text()
    known = " ".join(re.findall(r'(?:TAKES|SWITCHES)="([^"]+)"', offered)).split()
    assert {word[2:] for word in script.split() if word.startswith("--")} <= set(known)
    _, args = parse("train", words.replace("{{ ti.xcom_pull(task_ids='state') }}", "1a2b").split())
    assert args.run == "gs://my-fma/runs/mel_cnn-1a2b"


RUN_STEP = """
import json, sys
from types import SimpleNamespace
sys.path.insert(0, {folder!r})
import fma_genres_dag as module
builds = [SimpleNamespace(id=id_, tag=tag, status=SimpleNamespace(name=status)) for id_, tag, status in {builds!r}]
did = []
class Hook:
    def __init__(self, **options): pass
    def list_builds(self, filter_, **place): return [build for build in builds if filter_ == f'tags="{{build.tag}}"']
    def cancel_build(self, id_, **place): did.append(["cancel", id_])
module.CloudBuildHook = Hook
module.CloudBuildCreateBuildOperator.execute = lambda self, context: did.append(["start", self.build["tags"][1]])
module.read = lambda path: {state!r}
task = module.dag.get_task({task!r})
try:
    task.execute({{}})
except BaseException as deferred:  # TaskDeferred, which moved between versions of Airflow
    if type(deferred).__name__ != "TaskDeferred":
        raise
    did.append(["follow", deferred.trigger.id_])
print(json.dumps(did))
"""


def steps_of(home, task: str, builds: list[tuple[str, str, str]], state: bytes | None = None) -> list[list[str]]:
    """What a task does about its builds, given as (id, tag, status), where its run has that state.json."""
    script = RUN_STEP.format(folder=str(FOLDER), builds=builds, state=state, task=task)
    ran = in_airflow(home, str(PYTHON), "-c", script)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_step_follows_its_build_that_still_runs_and_starts_none_beside_it(home):
    tag = described(home)["ingest"]["build"]["tags"][1]
    assert steps_of(home, "ingest", [("1", tag, "WORKING"), ("2", "other", "WORKING")]) == [["follow", "1"]]
    assert steps_of(home, "ingest", [("1", tag, "FAILURE"), ("2", "other", "WORKING")]) == [["start", tag]]


def test_a_vm_is_deleted_only_when_the_build_that_would_make_it_again_is_cancelled(home):
    vm = described(home)["mel_cnn"]["build"]["tags"][1]
    did = steps_of(home, "mel_cnn_vm_gone", [("1", vm, "WORKING"), ("2", vm, "SUCCESS")])
    assert did == [["cancel", "1"], ["start", f"{vm}-gone"]]


def test_no_accelerator_is_asked_for_a_model_that_is_trained(home):
    vm = described(home)["mel_cnn"]["build"]["tags"][1]
    assert steps_of(home, "mel_cnn", [], state=b'{"finished": "all epochs done"}') == []
    assert steps_of(home, "mel_cnn", [], state=b'{"finished": ""}') == [["start", vm]]
    assert steps_of(home, "mel_cnn", []) == [["start", vm]]


def test_it_runs_end_to_end_and_again_only_when_the_data_has_grown(home, tmp_path):
    write_corpus(tmp_path / "corpus", CorpusOptions(6, "medium", clip_seconds=12))
    settings = {
        "where": "local",
        "fma": f"cd {ROOT} && {sys.executable} -m fma",
        "audio": str(tmp_path / "corpus" / "audio"),
        "metadata": str(tmp_path / "corpus" / "fma_metadata"),
        "ingest_options": "--max-failures 40",
        "dataset": str(tmp_path / "data"),
        "runs": str(tmp_path / "runs"),
        "reports": str(tmp_path / "reports"),
        "models": {"mel_cnn": "--epochs 1 --width 0.25", "baselines": "--models logreg"},
        "retries": 0,
    }
    migrated = in_airflow(home, str(AIRFLOW), "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr[-2000:]

    def run(subset: str) -> list[str]:
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(settings | {"subset": subset}))
        ran = in_airflow(home, str(AIRFLOW), "dags", "test", "fma_genres", settings=path)
        assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
        return sorted(report.name for report in (tmp_path / "reports").glob("*.html"))

    def digest() -> str:
        return load(str(tmp_path / "data")).digest[:12]

    assert run("small") == [f"{digest()}.html"]
    small = digest()
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert set(made) == {f"mel_cnn-{small}", f"baselines-{small}"}
    assert run("small") == [f"{small}.html"]
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()} == made
    assert run("medium") == sorted([f"{small}.html", f"{digest()}.html"])
    assert digest() != small
