"""From audio to the report as an Airflow DAG: ingest -> state -> statistics -> trainers in parallel -> report.

It runs on a schedule and does only what has changed. `ingest` reads what is new (a larger subset in the settings, more
rows in your csv). `state` reads the dataset's digest, and ends the run if there is a report for it already. The digest
is part of the name of each run's folder, so models of grown data are kept beside the earlier ones.

The settings are `fma_genres.json` beside this file, or the file that FMA_DAG_SETTINGS names. With "where": "cloud"
every step is a Cloud Build: commands run in the worker image, trainers through deploy/tpu/train.sh, on a VM that exists
only while the training runs. With "where": "local" the same commands run on this machine. For Airflow 3, which does not
need this project installed.

    airflow dags test fma_genres
"""

import hashlib
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

HERE = Path(__file__).resolve().parent
SETTINGS = Path(os.environ.get("FMA_DAG_SETTINGS", HERE / "fma_genres.json"))
DAY = "86400s"
DIGEST = "{{ ti.xcom_pull(task_ids='state') }}"
BASELINES = "baselines"
WORKER, LAUNCHER = "fma-worker", "fma-launcher"  # the account that reads data, and the one that starts jobs and VMs

settings: dict[str, Any] = json.loads(SETTINGS.read_text(encoding="utf-8"))
dataset, runs, reports = (settings[name].rstrip("/") for name in ("dataset", "runs", "reports"))


def run_folder(model: str) -> str:
    """Return the folder of a model's run on the data that `state` found; Airflow fills in the digest."""
    return f"{runs}/{model}-{DIGEST}"


def ingest_words() -> str:
    """Return the arguments of `fma ingest`."""
    words = f"--audio {settings['audio']} --metadata {settings['metadata']} --out {dataset}"
    words += f" --subset {settings['subset']}" if settings.get("subset") else ""
    return f"{words} {settings.get('ingest_options', '')}".strip()


def model_words(model: str) -> str:
    """Return the arguments of `fma train`, or of `fma baselines`."""
    name = "" if model == BASELINES else f"{model} "
    return f"{name}--data {dataset} --run {run_folder(model)} {settings['models'][model]}".strip()


def local_step(name: str, command: str) -> Any:
    """Return a step that runs a command on this machine."""
    from airflow.providers.standard.operators.bash import BashOperator

    return BashOperator(task_id=name, bash_command=f"{settings.get('fma', 'fma')} {command}")


if settings["where"] == "cloud":
    from airflow.providers.google.cloud.hooks.cloud_build import CloudBuildHook
    from airflow.providers.google.cloud.operators.cloud_build import CloudBuildCreateBuildOperator

    class CloudStep(CloudBuildCreateBuildOperator):
        """A build that is started once: a task that is tried again follows the build that its earlier try has left.

        Airflow forgets the build of a task that is failed from outside, and so does a triggerer that is lost.

        Args:
          tag: of this step's builds.
          cancels: tag of builds that are cancelled first, or "".
          trains: folder of a training run that, where it is finished, needs no build, or "".
        """

        template_fields = (*CloudBuildCreateBuildOperator.template_fields, "tag", "cancels", "trains")

        def __init__(self, *, tag: str, cancels: str = "", trains: str = "", **options: Any):
            super().__init__(**options)
            self.tag, self.cancels, self.trains = tag, cancels, trains

        def execute(self, context: Any) -> Any:
            """Start a build, or follow the one that runs."""
            if self.trains and is_finished(self.trains):
                self.log.info("%s is finished already", self.trains)
                return None
            place = {"project_id": self.project_id, "location": self.location}
            hook = CloudBuildHook(gcp_conn_id=self.gcp_conn_id)
            for build in running(hook, self.cancels, place) if self.cancels else []:
                self.log.info("cancelling the build %s of %s", build.id, self.cancels)
                hook.cancel_build(id_=build.id, **place)
            for build in running(hook, self.tag, place)[:1]:
                self.log.info("following the build %s, which runs already", build.id)
                from airflow.providers.google.cloud.triggers.cloud_build import CloudBuildCreateBuildTrigger

                trigger = CloudBuildCreateBuildTrigger(id_=build.id, poll_interval=self.poll_interval, **place)
                self.defer(trigger=trigger, method_name="execute_complete")
            return super().execute(context)


def running(hook: Any, tag: str, place: dict[str, str]) -> list[Any]:
    """Return the builds with a tag that have not ended, the newest first."""
    found = hook.list_builds(filter_=f'tags="{tag}"', **place)
    return [build for build in found if build.status.name in ("PENDING", "QUEUED", "WORKING")]


def is_finished(run: str) -> bool:
    """Return whether a training run has ended, by its state.json."""
    state = read(f"{run}/state.json")
    return state is not None and bool(json.loads(state)["finished"])


def cloud_step(name: str, image: str, script: str, account: str, *, machine: str = "", **options: Any) -> Any:
    """Return a step that runs a script in an image, in Cloud Build.

    It is deferrable: no Airflow worker waits for it.
    """
    project = settings["project"]
    # Builds of other settings are not followed. At most one run of the DAG is active, so the digest need not be there.
    tag = options.pop("tag", f"fma-{name}-{hashlib.sha256(script.encode()).hexdigest()[:12]}")
    build = {
        "steps": [{"name": image, "entrypoint": "bash", "args": ["-euc", script]}],
        "timeout": DAY,
        "service_account": f"projects/{project}/serviceAccounts/{account}@{project}.iam.gserviceaccount.com",
        "options": {"logging": "CLOUD_LOGGING_ONLY"} | ({"machine_type": machine} if machine else {}),
        "tags": ["fma", tag],
    }
    where = {"project_id": project, "location": settings["region"]}
    return CloudStep(task_id=name, tag=tag, build=build, deferrable=True, poll_interval=30, **where, **options)


def worker_image() -> str:
    """Return the image's name as deploy/dataflow/submit.sh build gives it."""
    return f"{settings['region']}-docker.pkg.dev/{settings['project']}/fma/worker:{settings['tag']}"


def dataflow_words() -> str:
    """Return the Beam options that run a command's work on Dataflow; deploy/dataflow/submit.sh explains the sizes."""
    project, bucket = settings["project"], settings["bucket"].rstrip("/")
    options = {
        "runner": "DataflowRunner",
        "project": project,
        "region": settings["region"],
        "staging_location": f"{bucket}/dataflow/staging",
        "sdk_container_image": worker_image(),
        "sdk_location": "container",
        "service_account_email": f"fma-worker@{project}.iam.gserviceaccount.com",
        "worker_machine_type": settings.get("machine", "n2-standard-4"),
        "max_num_workers": settings.get("max_workers", 12),
        "disk_size_gb": 50,
        "worker_disk_type": "compute.googleapis.com/projects//zones//diskTypes/pd-ssd",
        "experiments": "use_runner_v2",
        "labels": "app=fma",
        "subnetwork": f"regions/{settings['region']}/subnetworks/{settings.get('subnetwork', 'fma')}",
    }
    return " ".join(f"--{name} {value}" for name, value in options.items()) + " --no_use_public_ips"


def fma_step(name: str, command: str, machine: str = "") -> Any:
    """Return a step that runs an `fma` command; in the cloud, ingest and statistics run on Dataflow."""
    if settings["where"] == "local":
        return local_step(name, command)
    if name not in ("ingest", "statistics"):
        return cloud_step(name, worker_image(), f"fma {command}", WORKER, machine=machine)
    memory = " --track-memory 1024" if name == "ingest" else ""
    return cloud_step(name, worker_image(), f"fma {command}{memory} {dataflow_words()}", LAUNCHER, machine=machine)


def train_script(name: str, vm: str, words: str, **options: Any) -> Any:
    """Return a step that runs deploy/tpu/train.sh for one VM.

    Args:
      name: of the step.
      vm: its name.
      words: more options, and what follows --.
      options: of `CloudStep`.
    """
    source = settings["source"]
    sha256 = source.removesuffix(".tar.gz")[-64:]
    flags = "".join(f"--{flag.replace('_', '-')} " for flag in ("queued", "flex_start") if settings.get(flag))
    flags += "".join(f"--{flag} {settings[flag]} " for flag in ("network", "subnetwork") if settings.get(flag))
    script = (
        # exec: a cancelled build signals its first process, which must be the one that deletes the VM.
        f"gcloud storage cp {source} source.tar.gz && echo '{sha256}  source.tar.gz' | sha256sum --check --quiet && "
        "tar -xzf source.tar.gz && exec deploy/tpu/train.sh "
        f"--project {settings['project']} --zone {settings['zone']} --on {settings.get('accelerator', 'tpu')} "
        f"--source {source} --name {vm} {flags}{words}"
    )
    return cloud_step(name, "gcr.io/google.com/cloudsdktool/cloud-sdk:slim", script, LAUNCHER, **options)


def train_step(model: str) -> Any:
    """Return a step that runs `fma train` on a VM with an accelerator, which is deleted at the end."""
    if settings["where"] == "local":
        return local_step(model, f"train {model_words(model)}")
    vm = f"fma-{model.replace('_', '-')}-{DIGEST}"
    spot = "--spot " if settings.get("spot", True) else ""
    step = train_script(model, vm, f"--hours 20 {spot}-- {model_words(model)}", tag=vm, trains=run_folder(model))
    # For a build that was killed before the script could delete the VM: without flex_start a TPU never ends by itself.
    # A build that still runs is cancelled first, since it would make the VM again.
    step >> train_script(f"{model}_vm_gone", vm, "--delete", tag=f"{vm}-gone", cancels=vm, trigger_rule="all_done")
    return step


def read(path: str) -> bytes | None:
    """Return a file's content, or None if there is no such file."""
    if not path.startswith("gs://"):
        return Path(path).read_bytes() if Path(path).exists() else None
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    bucket, name = path.removeprefix("gs://").split("/", 1)
    hook = GCSHook()
    return hook.download(bucket_name=bucket, object_name=name) if hook.exists(bucket, name) else None


@task.short_circuit
def state() -> str:
    """Return the first digits of the dataset's digest, or "" if there is a report for it: that ends the run here."""
    manifest = read(f"{dataset}/dataset.json")
    if manifest is None:
        raise FileNotFoundError(f"{dataset}/dataset.json: fma ingest has not committed anything")
    digest = json.loads(manifest)["digest"][:12]
    return "" if read(f"{reports}/{digest}.html") is not None else digest


with DAG(
    "fma_genres",
    description="music-genre models, from audio to the report",
    schedule=settings.get("schedule"),
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,  # two would write to the dataset at once
    default_args={
        # Each step carries on where it was interrupted, so trying again costs little.
        "retries": settings.get("retries", 2),
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": True,
    },
    tags=["fma"],
) as dag:
    models = list(settings["models"])
    known = state()
    statistics = fma_step("statistics", f"statistics {dataset}")
    folders = " ".join(map(run_folder, models))
    report = fma_step("report", f"report {folders} --data {dataset} --out {reports}/{DIGEST}.html")
    fma_step("ingest", f"ingest {ingest_words()}") >> known >> statistics
    for model in models:
        words = model_words(model)
        baselines = model == BASELINES
        trainer = fma_step(model, f"baselines {words}", "E2_HIGHCPU_8") if baselines else train_step(model)
        statistics >> trainer >> report
