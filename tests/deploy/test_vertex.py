"""deploy/train: the image of fma train, and vertex.sh's jobs of Vertex AI."""

import json
import re
import signal
import time

import pytest

import fma
from tests.deploy.fake_gcloud import DEPLOY, value

OPTIONS = ("--project", "p", "--region", "r", "--bucket", "gs://b", "--tag", "1a2b3c")
TRAIN = ("--", "mel_cnn", "--data", "gs://b/data", "--run", 'gs://b/a "b" \\c')


def train(gcloud, *options: str):
    return gcloud.run("train/vertex.sh", "train", *OPTIONS, *options, *TRAIN)


def created(gcloud, *options: str):
    """The job that a call creates, as Vertex AI's client reads it: it refuses what it does not know."""
    from google.cloud.aiplatform_v1 import CustomJobSpec

    ran = train(succeeding(gcloud), *options)
    assert ran.returncode == 0, ran.stderr
    return CustomJobSpec.from_json(gcloud.config, ignore_unknown_fields=False)


def succeeding(gcloud):
    return gcloud.answers("custom-jobs create", "job-1").answers("describe", "JOB_STATE_SUCCEEDED")


def jobs(gcloud) -> list[str]:
    return [call[2] for call in gcloud.calls]


def test_a_job_trains_in_the_image_with_a_time_limit_and_restarts(gcloud):
    job = created(gcloud, "--hours", "5")
    (pool,) = job.worker_pool_specs
    assert pool.container_spec.image_uri == "r-docker.pkg.dev/p/fma/train-gpu:1a2b3c"
    _, args = fma.parse("train", list(pool.container_spec.args))
    assert (args.model, args.run, args.device, args.backend) == ("mel_cnn", 'gs://b/a "b" \\c', "gpu", "tensorflow")
    assert job.scheduling.timeout.total_seconds() == 5 * 3600
    assert job.scheduling.restart_job_on_worker_restart
    assert job.scheduling.strategy.name == "STRATEGY_UNSPECIFIED"
    assert job.service_account == "fma-worker@p.iam.gserviceaccount.com"
    assert jobs(gcloud) == ["list", "create", "stream-logs", "describe"]


def test_a_spot_job_and_one_that_waits_for_machines_say_so(gcloud):
    assert created(gcloud, "--spot").scheduling.strategy.name == "SPOT"
    flexible = created(gcloud, "--flex-start", "--wait", "3").scheduling
    assert flexible.strategy.name == "FLEX_START"
    assert flexible.max_wait_duration.total_seconds() == 3 * 3600


@pytest.mark.parametrize(
    ("options", "accelerator", "count", "topology"),
    [
        ((), "NVIDIA_L4", 1, ""),
        (("--type", "g2-standard-48"), "NVIDIA_L4", 4, ""),
        (("--type", "a2-highgpu-2g"), "NVIDIA_TESLA_A100", 2, ""),
        (("--type", "a3-highgpu-8g"), "NVIDIA_H100_80GB", 8, ""),
        (("--on", "tpu"), "ACCELERATOR_TYPE_UNSPECIFIED", 0, "2x2"),
        (("--on", "tpu", "--type", "ct6e-standard-8t"), "ACCELERATOR_TYPE_UNSPECIFIED", 0, "2x4"),
    ],
)
def test_a_machine_gets_its_own_accelerators(gcloud, options, accelerator, count, topology):
    machine = created(gcloud, *options).worker_pool_specs[0].machine_spec
    assert (machine.accelerator_type.name, machine.accelerator_count) == (accelerator, count)
    assert machine.tpu_topology == topology
    words = list(json.loads(gcloud.config)["workerPoolSpecs"][0]["containerSpec"]["args"])
    assert words[-1] == ("jax" if topology else "tensorflow")


def test_a_job_that_runs_already_is_followed_and_not_started_twice(gcloud):
    gcloud.answers("custom-jobs list", "job-0").answers("describe", "JOB_STATE_RUNNING", times=2)
    ran = train(succeeding(gcloud))
    assert ran.returncode == 0, ran.stderr
    assert "create" not in jobs(gcloud)
    assert "job-0" in gcloud.calls[-1]
    assert "still running: following it" in ran.stderr


@pytest.mark.parametrize("state", ["JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"])
def test_a_job_that_fails_is_exit_code_1_with_its_state(gcloud, state):
    gcloud.answers("custom-jobs create", "job-1").answers("describe", state)
    ran = train(gcloud)
    assert ran.returncode == 1
    assert state in ran.stderr


def test_a_list_that_is_not_answered_starts_no_second_job(gcloud):
    ran = train(gcloud.answers("custom-jobs list", code=1, err="ERROR: 503"))
    assert ran.returncode == 1
    assert jobs(gcloud) == ["list"]


def test_logs_that_break_off_do_not_end_the_wait(gcloud):
    gcloud.answers("stream-logs", code=1).answers("describe", "JOB_STATE_RUNNING", times=2)
    ran = train(succeeding(gcloud))
    assert ran.returncode == 0, ran.stderr
    assert jobs(gcloud).count("describe") == 3


def test_an_interrupted_script_says_that_the_job_continues(gcloud):
    succeeding(gcloud).answers("stream-logs", seconds=30)
    process = gcloud.start("train/vertex.sh", "train", *OPTIONS, *TRAIN)
    limit = time.monotonic() + 30
    while "stream-logs" not in jobs(gcloud) and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "gcloud ai custom-jobs cancel job-1" in said


def test_a_detached_call_ends_when_the_job_is_created(gcloud):
    assert train(succeeding(gcloud), "--detach").returncode == 0
    assert jobs(gcloud) == ["list", "create"]


def test_each_kind_of_accelerator_has_an_image_with_its_libraries(gcloud):
    for on, extra in (("gpu", "gpu-tensorflow"), ("tpu", "tpu-jax")):
        ran = gcloud.run("train/vertex.sh", "build", *OPTIONS, "--on", on)
        assert ran.returncode == 0, ran.stderr
        given = value(gcloud.calls[0], "--substitutions")
        assert f"_IMAGE=r-docker.pkg.dev/p/fma/train-{on}:1a2b3c," in given
        assert f"_BUILD_ARGS=--build-arg EXTRA={extra}," in given
        assert (DEPLOY / "tpu" / f"requirements-{extra}.txt").exists()
    assert re.search(r"^ARG EXTRA=gpu-tensorflow$", (DEPLOY / "train" / "Dockerfile").read_text(), re.M)


def test_a_dry_run_prints_the_commands_and_the_job_and_runs_none(gcloud):
    ran = train(gcloud, "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert gcloud.calls == []
    assert [line.split()[3] for line in ran.stdout.splitlines()] == ["create", "stream-logs", "describe"]
    assert json.loads(ran.stderr)["workerPoolSpecs"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", *OPTIONS, "--", "mel_cnn", "--data", "data", "--run", "gs://b/r"), "--data gs://"),
        (("train", *OPTIONS, "--type", "n1-standard-8", *TRAIN), "--type n1-standard-8"),
        (("train", *OPTIONS, "--on", "tpu", "--type", "g2-standard-8", *TRAIN), "for --on tpu"),
        (("train", *OPTIONS, "--on", "tpu", "--type", "ct6e-standard-16t", *TRAIN), "ct6e-standard-16t"),
        (("train", *OPTIONS, "--spot", "--flex-start", *TRAIN), "exclude"),
        (("train", *OPTIONS, "--flex-start", "--hours", "169", *TRAIN), "168"),
        (("train", *OPTIONS, *TRAIN, "--device", "cpu"), "--on says"),
        (("tarin", *OPTIONS), "tarin"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(gcloud, arguments, says):
    ran = gcloud.run("train/vertex.sh", *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert gcloud.calls == []
