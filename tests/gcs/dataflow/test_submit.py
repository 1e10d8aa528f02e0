"""`fma ingest --runner DataflowRunner`, from the command to the committed dataset."""

import json

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from google.api_core import exceptions as api

import fma
from pipelines import shard_jobs
from pipelines.runners.dataflow import translate_runner_errors
from tests.gcs.corpus import arguments, digest_of, upload
from tests.gcs.dataflow.service import pipeline_of
from tests.gcs.stack import BUCKET
from transforms import storage
from transforms.dataset import manifest as manifests
from transforms.errors import FmaError

pytestmark = pytest.mark.long

IMAGE = "us-central1-docker.pkg.dev/my-project/fma/worker:1"


def dataflow(service, *more: str) -> list[str]:
    """A user's Beam options."""
    return [
        *("--runner", "DataflowRunner", "--project", "my-project", "--region", "us-central1", "--no_auth"),
        *("--dataflow_endpoint", service.endpoint, "--sdk_container_image", IMAGE, *more),
    ]


SOURCE = f"gs://{BUCKET}/dataflow"


@pytest.fixture(scope="module")
def source(corpus, stand_in) -> str:
    """The corpus in the bucket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", stand_in.environment["STORAGE_EMULATOR_HOST"])
        upload(corpus / "audio", f"{SOURCE}/audio")
        upload(corpus / "fma_metadata", f"{SOURCE}/fma_metadata")
    return SOURCE


@pytest.fixture
def there(source, folder) -> str:
    """A folder in the bucket for a test."""
    return folder


def ingest(there: str, *more: str) -> int:
    return fma.main(arguments(SOURCE, f"{there}/out", "small", False, *more))


SIZES = [
    *("--worker_machine_type", "n2-standard-8", "--num_workers", "3", "--max_num_workers", "20"),
    *("--autoscaling_algorithm", "THROUGHPUT_BASED", "--experiments", "use_runner_v2", "--disk_size_gb", "50"),
    *("--labels", "team=music", "--labels", "step=ingest", "--subnetwork", "regions/us-central1/subnetworks/a"),
    *("--service_account_email", "worker@my-project.iam.gserviceaccount.com", "--no_use_public_ips"),
]


def test_a_job_is_submitted_as_asked_runs_and_is_committed(there, service, digests, capsys):
    assert ingest(there, *dataflow(service, *SIZES)) == 0
    assert digest_of(f"{there}/out") == digests["small"]
    (job,) = service.jobs
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == "n2-standard-8"
    assert pool["numWorkers"] == 3
    assert pool["diskSizeGb"] == 50
    assert pool["autoscalingSettings"] == {"algorithm": 2, "maxNumWorkers": 20}
    assert pool["workerHarnessContainerImage"] == IMAGE
    assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == [IMAGE]
    assert pool["ipConfiguration"] == 2
    assert pool["subnetwork"] == "regions/us-central1/subnetworks/a"
    assert environment["serviceAccountEmail"] == "worker@my-project.iam.gserviceaccount.com"
    assert {"use_runner_v2", "use_unified_worker", "beam_fn_api"} <= set(environment["experiments"])
    assert job["labels"] == {"team": "music", "step": "ingest"}
    assert job["name"].startswith("fma-ingest-0001-")
    options = environment["sdkPipelineOptions"]["options"]
    assert options["number_of_worker_harness_threads"] == 2
    assert environment["tempStoragePrefix"].startswith(f"storage.googleapis.com/{there.removeprefix('gs://')}/out/plan")
    captured = capsys.readouterr()
    assert "dataflow: " in captured.err
    assert "Workers have started." in captured.err
    assert manifests.load(f"{there}/out").generations[0].job["runner"] == "DataflowRunner"
    assert not storage.exists(f"{there}/out/plan")


def test_this_program_can_be_installed_on_the_workers_by_its_setup_file(there, service):
    service.failure = "enough"
    assert ingest(there, *dataflow(service, "--setup_file", "./setup.py")) == 1
    names = [package["name"] for package in service.jobs[0]["environment"]["workerPools"][0]["packages"]]
    assert any(name.endswith(".tar.gz") for name in names), names


def test_a_template_is_written_and_its_job_taken_up_when_it_has_run(there, service, digests, tmp_path, capsys):
    template = tmp_path / "template.json"
    assert ingest(there, *dataflow(service, "--template_location", str(template), *SIZES)) == 0
    assert "and not run. When the job has been run from there, the same command without" in capsys.readouterr().err
    assert service.jobs == []
    assert not storage.exists(f"{there}/out/dataset.json")
    job = json.loads(template.read_text())
    assert job["environment"]["workerPools"][0]["machineType"] == "n2-standard-8"
    service.work(job)
    assert service.state == "JOB_STATE_DONE", service.messages
    assert ingest(there, *dataflow(service, *SIZES)) == 0
    shards = {shard.name for shard in manifests.load(f"{there}/out").files()}
    assert f"{len(shards)} of {len(shards)} shards were built before" in capsys.readouterr().err
    assert service.jobs == []
    assert digest_of(f"{there}/out") == digests["small"]
    assert not storage.exists(f"{there}/out/plan")


def test_what_another_plan_left_elsewhere_is_removed_when_the_new_one_is_committed(there, service, digests, tmp_path):
    template = ["--template_location", str(tmp_path / "template.json")]
    assert ingest(there, *dataflow(service, *template), "--shards", "3") == 0
    (left,) = storage.list_folders(f"{there}/out/plan")
    storage.write_bytes(f"{there}/out/mel/{left}/training-00000-of-00003.tfrecord", b"built by a job elsewhere")
    assert ingest(there) == 0
    assert digest_of(f"{there}/out") == digests["small"]
    assert not storage.exists(f"{there}/out/plan")
    assert not storage.exists(f"{there}/out/mel/{left}")


def last_line(capsys) -> str:
    """The only line that is no message about the job."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("dataflow: ")]
    return line


def test_a_refusal_is_one_line_with_what_to_do(there, service, capsys):
    service.refusal = (403, "Dataflow API has not been used in project 1 before or it is disabled.")
    assert ingest(there, *dataflow(service)) == 1
    assert last_line(capsys) == (
        "fma: error: Dataflow refuses the job: Dataflow API has not been used in project 1 before or it is disabled "
        "(enable the Dataflow API in the project, and give the account roles/dataflow.developer)"
    )
    service.refusal = (409, "(1): There is already an active job named fma-ingest-0001.")
    assert ingest(there, *dataflow(service)) == 1
    assert last_line(capsys) == (
        "fma: error: Dataflow runs this job already: wait until it has ended and run the command again, which uses "
        "what the job has built"
    )


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (400, "The workflow was sent to an invalid or unreachable region (nowhere)", "check --region and the other"),
        (404, "Project not found", "check --project and --region"),
        (429, "Quota exceeded for quota metric 'CreateJob'", "ask for more quota, or take fewer or smaller workers"),
        (500, "Internal error", "run the command again later"),
    ],
)
def test_each_kind_of_refusal_has_its_advice(status, message, advice):
    address = "POST https://dataflow.googleapis.com/v1b3/projects/p/locations/r/jobs?%24alt=json: "
    with pytest.raises(FmaError) as caught, translate_runner_errors(PipelineOptions(["--runner=dataflow"])):
        raise api.from_http_status(status, f"{address}{message}.")
    assert str(caught.value).startswith(f"Dataflow refuses the job: {message} ({advice}")


def test_a_job_that_fails_is_one_line_with_what_to_do(there, service, capsys):
    service.failure = "Startup of the worker pool failed: QUOTA_EXCEEDED: Quota 'CPUS' exceeded. Limit: 24.0"
    assert ingest(there, *dataflow(service)) == 1
    assert last_line(capsys).startswith("fma: error: the Dataflow job failed: not enough quota for the workers; ask")
    assert not storage.exists(f"{there}/out/dataset.json")


@pytest.mark.parametrize(
    ("failure", "meaning"),
    [
        (
            "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'pipelines'\n",
            "the workers' image does not hold this program",
        ),
        ("Workflow failed. Causes: ZONE_RESOURCE_POOL_EXHAUSTED in us-central1-a.", "the region has no such machines"),
        ("Traceback:\n  File y\nValueError: something else", "ValueError: something else (its page in the Cloud"),
        ("None", "it gave no reason (its page in the Cloud console"),
    ],
)
def test_each_kind_of_failure_says_what_to_do(failure, meaning):
    text = f"Dataflow pipeline failed. State: FAILED, Error:\n{failure}"
    with pytest.raises(FmaError) as caught, translate_runner_errors(PipelineOptions(["--runner=dataflow"])):
        raise DataflowRuntimeException(text, None)
    assert str(caught.value).startswith(f"the Dataflow job failed: {meaning}")


def test_workers_with_another_version_of_this_program_build_nothing(there, service, monkeypatch, capsys):
    monkeypatch.setattr(shard_jobs, "WORKER_PACKAGES", ("transforms",))  # the worker, a process of its own, reads both
    shard_jobs.code_digest.cache_clear()
    try:
        assert ingest(there, *dataflow(service)) == 1
    finally:
        shard_jobs.code_digest.cache_clear()
    assert "the workers run another version of this program than the one that started the job" in last_line(capsys)
    assert not storage.exists(f"{there}/out/dataset.json")


def test_what_workers_cannot_see_is_refused_before_anything_is_read(corpus, there, service, capsys, tmp_path):
    options = dataflow(service)
    here = arguments(str(corpus), f"{there}/out", "small", False, *options)
    assert fma.main(here) == 2
    assert f"--audio {corpus}/audio: Dataflow's workers do not see this machine's files" in capsys.readouterr().err
    assert fma.main(arguments(SOURCE, str(tmp_path / "out"), "small", False, *options)) == 2
    assert f"--out {tmp_path}/out: Dataflow's workers do not see" in capsys.readouterr().err
    rows = f"track_id,path,genre,artist,split\n7,{corpus}/a.mp3,Folk,a,training\n8,gs://music/b.mp3,Folk,b,training\n"
    (tmp_path / "tracks.csv").write_text(rows)
    command = ["--audio", SOURCE, "--metadata", str(tmp_path / "tracks.csv"), "--out", f"{there}/out", *options]
    storage.write_bytes("gs://music/b.mp3", b"x")
    assert fma.main(["ingest", *command]) == 2
    assert f"track 7: {corpus}/a.mp3: Dataflow's workers do not see" in capsys.readouterr().err
    assert service.jobs == []


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("--project", "--runner DataflowRunner needs --project"),
        ("--region", "--runner DataflowRunner needs --region"),
        ("--sdk_container_image", "the workers need this program; give --sdk_container_image"),
    ],
)
def test_options_without_which_a_job_would_fail_are_asked_for(there, service, capsys, without, message):
    options = dataflow(service)
    del options[options.index(without) : options.index(without) + 2]
    assert ingest(there, *options) == 2
    assert message in capsys.readouterr().err


def test_a_value_that_beam_refuses_is_one_line(there, service, capsys):
    options = [*dataflow(service), "--dataflow_endpoint", "nonsense"]
    assert ingest(there, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Invalid url (nonsense) for dataflow endpoint" in line


def test_statistics_are_submitted_too(there, service, capsys):
    assert ingest(there) == 0
    service.failure = "enough"
    assert fma.main(["statistics", f"{there}/out", *dataflow(service)]) == 1
    assert service.jobs[0]["name"].startswith("fma-statistics-0001-")
    assert len(json.dumps(service.jobs[0])) < 1_000_000, "Dataflow takes 20 MB"
    assert storage.size(pipeline_of(service.jobs[0])) < 1_000_000, "a job's graph may have 10 MB"
    capsys.readouterr()
    assert fma.main(["statistics", f"{there}/out", *dataflow(service), "--template_location", "x"]) == 2
    assert "only the job of fma ingest can be written to a template" in capsys.readouterr().err
