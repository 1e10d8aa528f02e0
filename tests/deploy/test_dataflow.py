"""deploy/dataflow: the worker image, the Flex Template's parameters and submit.sh's calls of gcloud."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

import fma
from tests.deploy.fake_gcloud import DEPLOY, ROOT, value
from transforms.audio import decoder_process

OPTIONS = ("--project", "p", "--region", "r", "--bucket", "gs://b", "--tag", "1a2b3c")
INGEST = (
    "--audio",
    "gs://b/a b.zip",
    "--metadata",
    "gs://b/m.zip",
    "--subset",
    "small",
    "--out",
    "gs://b/d",
    "--update",
)
CONFIG = DEPLOY / "dataflow" / "cloudbuild.yaml"
IMAGE = "r-docker.pkg.dev/p/fma/worker:1a2b3c"


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (DEPLOY / "dataflow" / "Dockerfile").read_text()


def pin(name: str) -> str:
    return re.search(rf"^{name}==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)[1]


def test_the_image_has_the_beam_of_the_pins(dockerfile):
    assert "\nARG PYTHON=3.11\n" in dockerfile
    assert f"FROM apache/beam_python${{PYTHON}}_sdk:{pin('apache-beam')}\n" in dockerfile


def test_the_image_computes_as_a_track_s_process_does(dockerfile):
    set_there = dict(re.findall(r"\b([A-Z_]+)=(\S+)", dockerfile[dockerfile.index("ENV OMP") :]))
    wanted = decoder_process.BLAS_THREADS | {"OPENBLAS_CORETYPE": "Haswell"}
    assert {name: set_there.get(name) for name in wanted} == wanted


@pytest.mark.long
def test_a_worker_imports_no_numba():
    audio = "transforms.audio.extract, transforms.audio.features, transforms.audio.decoder_process"
    check = "found = {'numba', 'librosa'} & set(sys.modules); assert not found, found"
    script = f"import sys, pipelines.statistics.analyze, pipelines.ingest.beam, {audio}; {check}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)


def test_the_metadata_has_every_option_of_the_command(template_main):
    committed = json.loads((DEPLOY / "dataflow" / "metadata.json").read_text())
    assert committed == template_main.metadata(), (
        "python deploy/dataflow/template_main.py --metadata > deploy/dataflow/metadata.json"
    )
    names = {parameter["name"] for parameter in committed["parameters"]} - set(template_main.BEAM_PARAMETERS)
    _, args = fma.parse("ingest", ["--audio", "a", "--metadata", "m", "--out", "o"])
    options = set(vars(args)) - {"beam_options"}
    assert names | (set(template_main.NOT_IN_A_TEMPLATE) - {"help"}) == options
    assert not names & set(template_main.NOT_IN_A_TEMPLATE)


def test_a_template_s_parameters_are_read_as_the_command_s_options(template_main):
    given = ["--audio=gs://b/a.zip", "--metadata=m", "--out=gs://b/d", "--update=true", "--retry_failed=true"]
    given += ["--max_failures=7", "--db_min=-90", "--runner=DataflowRunner", "--template_location=gs://b/job"]
    _, args = fma.parse("ingest", template_main.to_command_line(given))
    assert (args.audio, args.update, args.retry_failed, args.max_failures, args.db_min) == (
        "gs://b/a.zip",
        True,
        "",
        7.0,
        -90.0,
    )
    assert args.beam_options == ["--runner=DataflowRunner", "--template_location=gs://b/job"]


def test_a_switch_that_is_off_is_left_out(template_main):
    assert template_main.to_command_line(["--update=false", "--retry_failed="]) == []
    with pytest.raises(SystemExit, match="true or false"):
        template_main.to_command_line(["--update=perhaps"])


def test_build_hands_everything_to_cloud_build(gcloud):
    ran = gcloud.run("dataflow/submit.sh", "build", *OPTIONS, "--python", "3.12")
    assert ran.returncode == 0, ran.stderr
    (call,) = gcloud.calls
    assert call[:3] == ["beta", "builds", "submit"], "the other one shows nothing of what a build says"
    assert any("=${_PYTHON}" in str(step) for step in yaml.safe_load(CONFIG.read_text())["steps"])
    given = dict(pair.split("=", 1) for pair in value(call, "--substitutions").split(","))
    assert given["_IMAGE"] == IMAGE
    assert given["_SOURCE"] == "gs://b-code/source-1a2b3c"
    assert given["_TEMPLATE"] == "gs://b-code/ingest-1a2b3c.json"
    assert value(call, "--gcs-source-staging-dir") == "gs://b-code/builds", "workers may not write there"
    assert given["_PYTHON"] == "3.12"
    config = CONFIG.read_text()
    assert set(given) == set(re.findall(r"\$\{(_\w+)\}", config))
    assert [step["id"] for step in yaml.safe_load(config)["steps"]] == ["image", "try", "template", "source", "push"]


def test_the_source_archive_carries_its_checksum_and_the_same_tree_gives_the_same_archive(tmp_path):
    (step,) = [step for step in yaml.safe_load(CONFIG.read_text())["steps"] if step["id"] == "source"]
    script = step["args"][-1].replace("$$", "$").replace("${_SOURCE}", "gs://b-code/source-1a")
    program = tmp_path / "gcloud"
    program.write_text('#!/bin/sh\ncp "$4" "$(basename "$5")"\n')
    program.chmod(0o755)
    names = set()
    for built, folder in enumerate((tmp_path / "one", tmp_path / "two"), start=1):
        for name in re.search(r"-cf -(.+?)\|", script, re.S)[1].replace("\\", " ").split():
            (folder / name).mkdir(parents=True)
            (folder / name / "file").write_text(name)
            os.utime(folder / name / "file", (built, built))
        script_here = script.replace("/tmp/source.tar.gz", f"{folder}.tar.gz")
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["bash", *step["args"][:-1], script_here], cwd=folder, env=path, check=True, capture_output=True)
        (archive,) = folder.glob("source-1a-*.tar.gz")
        assert hashlib.sha256(archive.read_bytes()).hexdigest() in archive.name
        names.add(archive.name)
    assert len(names) == 1


@pytest.mark.parametrize("tag", ["1a2b3c-dirty", "latest"])
def test_what_no_commit_holds_is_built_only_under_a_name_of_its_own(gcloud, tag):
    ran = gcloud.run("dataflow/submit.sh", "build", *OPTIONS[:-1], tag)
    assert ran.returncode == 2
    assert "--tag" in ran.stderr
    assert gcloud.calls == []


@pytest.mark.parametrize(
    ("command", "words", "account"),
    [
        ("ingest", INGEST, "fma-launcher"),
        ("fma", ("statistics", "gs://b/d", "--runner", "DataflowRunner"), "fma-launcher"),
        ("fma", ("verify", "gs://b/d"), "fma-worker"),
        ("fma", ("ingest", *INGEST, "--estimate"), "fma-worker"),
    ],
)
def test_only_what_starts_a_job_runs_as_an_account_that_may_start_jobs(gcloud, command, words, account):
    ran = gcloud.run("dataflow/submit.sh", command, *OPTIONS, "--", *words)
    assert ran.returncode == 0, ran.stderr
    assert value(gcloud.calls[0], "--substitutions").endswith(f"~_ACCOUNT={account}@p.iam.gserviceaccount.com")


def test_ingest_runs_the_command_in_the_image_with_workers_of_the_same_image(gcloud):
    ran = gcloud.run("dataflow/submit.sh", "ingest", *OPTIONS, "--max-workers", "9", "--", *INGEST)
    assert ran.returncode == 0, ran.stderr
    (call,) = gcloud.calls
    assert call[:3] == ["beta", "builds", "submit"]
    given = dict(pair.split("=", 1) for pair in value(call, "--substitutions").removeprefix("^~^").split("~"))
    assert set(given) == set(re.findall(r"\$\{(_\w+)\}", (DEPLOY / "dataflow" / "launch.yaml").read_text()))
    assert given["_IMAGE"] == IMAGE
    command, *words = shlex.split(given["_COMMAND"])
    _, args = fma.parse(command, words)
    assert (args.audio, args.update, args.track_memory) == ("gs://b/a b.zip", True, 1024)
    from pipelines.runners.options import reject_unknown_options

    reject_unknown_options(args.beam_options)
    assert value(args.beam_options, "--sdk_container_image") == IMAGE
    assert value(args.beam_options, "--max_num_workers") == "9"
    assert value(args.beam_options, "--worker_machine_type") == "n2-standard-4"
    assert value(args.beam_options, "--disk_size_gb") == "50"
    assert value(args.beam_options, "--subnetwork") == "regions/r/subnetworks/fma"
    assert value(args.beam_options, "--worker_disk_type").endswith("/pd-ssd")


def test_a_build_has_the_machine_that_is_asked_for(gcloud):
    words = ("--", "baselines", "--data", "gs://b/d", "--run", "gs://b/r")
    assert gcloud.run("dataflow/submit.sh", "fma", *OPTIONS, *words).returncode == 0
    assert "--machine-type" not in gcloud.calls[0]
    gcloud.run("dataflow/submit.sh", "fma", *OPTIONS, "--build-machine", "e2-highcpu-32", *words)
    assert value(gcloud.calls[0], "--machine-type") == "e2-highcpu-32"


def test_what_takes_days_is_a_job_that_is_tried_again(gcloud):
    ran = gcloud.run("dataflow/submit.sh", "job", *OPTIONS, "--", "download", "--subset", "full", "--out", "gs://b/a b")
    assert ran.returncode == 0, ran.stderr
    (call,) = gcloud.calls
    assert call[:3] == ["run", "jobs", "deploy"]
    assert (value(call, "--image"), value(call, "--command")) == (IMAGE, "fma")
    command, *words = value(call, "--args").removeprefix("^~^").split("~")
    _, args = fma.parse(command, words)
    assert (args.subset, args.out) == ("full", "gs://b/a b")
    assert value(call, "--service-account") == "fma-worker@p.iam.gserviceaccount.com"
    assert (value(call, "--task-timeout"), value(call, "--max-retries")) == ("168h", "3")
    assert "--wait" in call
    names = {call[3]}
    gcloud.run("dataflow/submit.sh", "job", *OPTIONS, "--", "verify", "gs://b/d")
    assert {gcloud.calls[0][3]} != names


def test_the_template_is_run_waited_for_and_taken_up(gcloud):
    gcloud.answers("flex-template run", "job-1")
    gcloud.answers("jobs describe", "JOB_STATE_RUNNING", times=2).answers("jobs describe", "JOB_STATE_DONE")
    ran = gcloud.run("dataflow/submit.sh", "template", *OPTIONS, "--", *INGEST)
    assert ran.returncode == 0, ran.stderr
    assert gcloud.verbs == ["run", "describe", "describe", "describe", "submit"]
    parameters = value(gcloud.calls[0], "--parameters").removeprefix("^~^").split("~")
    known = {
        parameter["name"] for parameter in json.loads((DEPLOY / "dataflow" / "metadata.json").read_text())["parameters"]
    }
    assert {parameter.partition("=")[0] for parameter in parameters} <= known
    assert "audio=gs://b/a b.zip" in parameters
    assert "update=true" in parameters
    assert "job-1" in gcloud.calls[1]
    assert value(gcloud.calls[0], "--subnetwork") == "regions/r/subnetworks/fma"
    assert value(gcloud.calls[0], "--additional-pipeline-options").startswith("disk_size_gb=50,worker_disk_type=")
    assert value(gcloud.calls[0], "--service-account-email") == "fma-template@p.iam.gserviceaccount.com"


def test_a_template_s_job_that_fails_is_not_taken_up(gcloud):
    gcloud.answers("flex-template run", "job-1").answers("jobs describe", "JOB_STATE_FAILED")
    ran = gcloud.run("dataflow/submit.sh", "template", *OPTIONS, "--", *INGEST)
    assert ran.returncode == 1
    assert "JOB_STATE_FAILED" in ran.stderr
    assert "submit" not in gcloud.verbs


def test_a_question_about_a_job_that_is_not_answered_is_asked_again_but_not_for_ever(gcloud):
    gcloud.answers("flex-template run", "job-1").answers("jobs describe", code=1, times=2, err="ERROR: 503")
    gcloud.answers("jobs describe", "JOB_STATE_DONE", times=1).answers("jobs describe", code=1)
    ran = gcloud.run("dataflow/submit.sh", "template", *OPTIONS, "--", *INGEST)
    assert ran.returncode == 0, ran.stderr
    assert gcloud.verbs[-1] == "submit"
    gcloud._answers = []
    gcloud.answers("flex-template run", "job-1").answers("jobs describe", code=1, err="ERROR: 503")
    ran = gcloud.run("dataflow/submit.sh", "template", *OPTIONS, "--", *INGEST)
    assert ran.returncode == 1
    assert "gave up asking for the job job-1, which may still run" in ran.stderr


@pytest.mark.parametrize(("command", "lines"), [("build", 1), ("ingest", 1), ("template", 3)])
def test_a_dry_run_prints_the_commands_and_runs_none(gcloud, command, lines):
    words = () if command == "build" else ("--", *INGEST)
    ran = gcloud.run("dataflow/submit.sh", command, *OPTIONS, "--dry-run", *words)
    assert ran.returncode == 0, ran.stderr
    assert gcloud.calls == []
    assert len(ran.stdout.splitlines()) == lines
    assert all(line.startswith("gcloud ") for line in ran.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("build", "--project", "p"), "--region"),
        (("ingest", *OPTIONS, "--", "--audio", "gs://b/a", "--out", "here"), "--out gs://"),
        (("ingset", *OPTIONS), "ingset"),
        (("job", *OPTIONS), "give an fma command"),
        (("job", *OPTIONS, "--", "ingest", *INGEST, "--runner", "DataflowRunner"), "submit.sh fma"),
        (("build", *OPTIONS[:4], "--bucket", "b"), "gs://NAME"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(gcloud, arguments, says):
    ran = gcloud.run("dataflow/submit.sh", *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert gcloud.calls == []
