"""deploy/tpu/train.sh: its calls of gcloud, their order, and that no VM outlives it."""

import hashlib
import os
import re
import shlex
import subprocess

import pytest

from tests.deploy.fake_gcloud import value, verb

SHA256 = "0f" * 32
OPTIONS = ("--project", "p", "--zone", "z", "--source", f"gs://b-code/source-1a2b3c-{SHA256}.tar.gz")
TRAIN = ("--", "mel_cnn", "--data", "gs://b/data", "--run", "gs://b/run", "--epochs", "3")
GONE = "ERROR: (gcloud) NOT_FOUND: Resource 'fma-mel-cnn' was not found"


def absent(gcloud, times: int = 1000):
    return gcloud.answers("describe", code=1, times=times, err=GONE)


def there(gcloud, state: str = "READY", times: int = 1000):
    return gcloud.answers("describe", state, times=times)


def train(gcloud, *options: str):
    return gcloud.run("tpu/train.sh", *OPTIONS, *options, *TRAIN)


def commands(gcloud) -> list[str]:
    """What was run on the VM."""
    return [value(call, "--command") for call in gcloud.calls if "ssh" in call]


def test_a_tpu_vm_is_made_used_and_deleted(gcloud):
    there(absent(gcloud, 1))
    ran = train(gcloud)
    assert ran.returncode == 0, ran.stderr
    assert [verb for verb in gcloud.verbs if verb != "describe"] == ["create", "ssh", "install", "train", "delete"]
    create = gcloud.calls[1]
    assert create[:4] == ["compute", "tpus", "tpu-vm", "create"]
    assert re.fullmatch(r"fma-mel-cnn-[0-9a-f]{8}", create[4])
    assert value(create, "--accelerator-type") == "v5litepod-8"
    assert value(create, "--service-account") == "fma-worker@p.iam.gserviceaccount.com"
    assert "--spot" not in create
    command = next(value(call, "--command") for call in gcloud.calls if "on_vm.sh" in " ".join(call))
    assert command.endswith(
        "on_vm.sh mel_cnn --data gs://b/data --run gs://b/run --epochs 3 --device tpu --backend jax"
    )
    assert commands(gcloud)[1].endswith("install.sh tpu jax")
    assert not [call for call in gcloud.calls if "--worker" in call]


@pytest.mark.parametrize("changed", [False, True])
def test_a_source_archive_that_was_changed_after_its_build_is_not_unpacked(gcloud, tmp_path, changed):
    installer = tmp_path / "deploy" / "tpu" / "install.sh"
    installer.parent.mkdir(parents=True)
    installer.write_text("touch installed\n")
    archive, machine = tmp_path / "source.tar.gz", tmp_path / "machine"
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path, "deploy"], check=True)
    name = f"gs://b-code/source-1a-{hashlib.sha256(archive.read_bytes()).hexdigest()}.tar.gz"
    dry = gcloud.run("tpu/train.sh", "--project", "p", "--zone", "z", "--source", name, "--dry-run", *TRAIN)
    install = next(line for line in dry.stdout.splitlines() if "install.sh" in line)
    if changed:
        archive.write_bytes(archive.read_bytes() + b"more")
    machine.mkdir()
    (machine / "gcloud").write_text(f"#!/bin/sh\ncp {archive} $4\n")
    (machine / "gcloud").chmod(0o755)
    path = {"PATH": f"{machine}:{os.environ['PATH']}"}
    ran = subprocess.run(["bash", "-c", value(shlex.split(install), "--command")], cwd=machine, env=path, check=False)
    assert (ran.returncode == 0) is not changed
    assert (machine / "installed").exists() is not changed
    assert (machine / "fma").exists() is not changed


def test_a_spot_vm_that_is_taken_away_is_replaced_and_training_carries_on(gcloud):
    absent(gcloud, 1)
    there(gcloud, times=1)  # before the install
    gcloud.answers("on_vm.sh", code=255, times=1)
    there(gcloud, "PREEMPTED", times=2)
    there(absent(gcloud, 1))
    ran = train(gcloud, "--spot")
    assert ran.returncode == 0, ran.stderr
    did = [verb for verb in gcloud.verbs if verb != "describe"]
    once = ["create", "ssh", "install", "train", "delete"]
    assert did == once * 2
    creates = [call for call in gcloud.calls if "create" in call]
    assert all("--spot" in call for call in creates)
    assert creates[0] == creates[1]


def test_a_training_that_fails_ends_the_script_and_the_vm(gcloud):
    there(absent(gcloud, 1))
    gcloud.answers("on_vm.sh", code=1).answers("cat fma", "1")
    ran = train(gcloud, "--spot")
    assert ran.returncode == 1
    assert "ended with code 1" in ran.stderr
    assert gcloud.verbs.count("create") == 1
    assert gcloud.verbs[-1] == "delete"


def test_a_lost_connection_is_taken_up_again(gcloud):
    there(absent(gcloud, 1))
    gcloud.answers("on_vm.sh", code=255, times=2).answers("cat fma", code=255, times=2)
    ran = train(gcloud)
    assert ran.returncode == 0, ran.stderr
    assert gcloud.verbs.count("train") == 3
    assert gcloud.verbs.count("create") == 1


def test_a_service_that_does_not_answer_is_no_reason_for_another_vm(gcloud):
    there(absent(gcloud, 1), times=1)
    gcloud.answers("on_vm.sh", code=255, times=1).answers("cat fma", code=255, times=1)
    gcloud.answers("describe", code=1, times=1, err="ERROR: 503 try again later")
    ran = train(there(gcloud), "--spot")
    assert ran.returncode == 0, ran.stderr
    did = [verb for verb in gcloud.verbs if verb != "describe"]
    assert did == ["create", "ssh", "install", "train", "status", "train", "delete"]


def test_an_install_that_fails_deletes_the_vm(gcloud):
    there(absent(gcloud, 1))
    gcloud.answers("install.sh", code=1)
    ran = train(gcloud)
    assert ran.returncode == 1
    assert "could not install" in ran.stderr
    assert gcloud.verbs[-1] == "delete"


def test_a_vm_that_cannot_be_had_is_asked_for_as_often_as_attempts_says(gcloud):
    absent(gcloud)
    gcloud.answers("create", code=1, err="ERROR: there is no more capacity in the zone z")
    ran = train(gcloud, "--attempts", "3")
    assert ran.returncode == 1
    assert gcloud.verbs.count("create") == 3
    assert "delete" not in gcloud.verbs  # there is nothing to delete
    assert "no more capacity" in ran.stderr


def test_a_vm_is_deleted_even_where_nobody_says_whether_it_is_there(gcloud):
    absent(gcloud, 1)
    gcloud.answers("describe", "READY", times=1).answers("describe", code=1, err="ERROR: 503 try again later")
    gcloud.answers("install.sh", code=1)
    train(gcloud)
    assert gcloud.verbs.count("delete") >= 1


def test_a_vm_that_cannot_be_deleted_is_said_aloud(gcloud):
    there(absent(gcloud, 1))
    gcloud.answers("delete", code=1)
    ran = train(gcloud)
    assert ran.returncode == 1
    assert "delete it by hand" in ran.stderr


def test_a_vm_that_an_earlier_call_left_is_used_again(gcloud):
    there(gcloud)
    ran = train(gcloud)
    assert ran.returncode == 0
    assert "create" not in gcloud.verbs
    assert "carrying on with it" in ran.stderr


def test_a_vm_can_be_kept(gcloud):
    there(absent(gcloud, 1))
    ran = train(gcloud, "--keep")
    assert ran.returncode == 0
    assert "delete" not in gcloud.verbs
    assert "costs money" in ran.stderr


def test_a_queued_resource_is_waited_for_and_deleted_with_its_node(gcloud):
    absent(gcloud, 1)
    gcloud.answers("queued-resources describe", "WAITING_FOR_RESOURCES", times=2)
    there(gcloud.answers("queued-resources describe", "ACTIVE"))
    ran = train(gcloud, "--queued", "--spot")
    assert ran.returncode == 0, ran.stderr
    first, last = (
        next(call for call in calls if call[-1] != "value(state)") for calls in (gcloud.calls[1:], [gcloud.calls[-1]])
    )
    assert first[:4] == ["compute", "tpus", "queued-resources", "create"]
    assert value(first, "--node-id") == first[4]
    assert value(first, "--valid-until-duration") == "20h"
    assert last[:4] == ["compute", "tpus", "queued-resources", "delete"]
    assert "--force" in last


def test_with_flex_start_google_deletes_the_tpu_where_the_script_cannot(gcloud):
    absent(gcloud, 1)
    there(gcloud.answers("queued-resources describe", "ACTIVE"))
    ran = train(gcloud, "--flex-start", "--hours", "5")
    assert ran.returncode == 0, ran.stderr
    create = next(call for call in gcloud.calls if "create" in call)
    assert create[:5] == ["alpha", "compute", "tpus", "queued-resources", "create"]
    assert value(create, "--provisioning-model") == "flex-start"
    assert value(create, "--max-run-duration") == "6h"
    assert gcloud.calls[-1][:4] == ["compute", "tpus", "queued-resources", "delete"]


def test_a_tpu_that_google_has_ended_is_replaced_by_the_next_call(gcloud):
    gcloud.answers("queued-resources describe", "SUSPENDED", times=1)
    absent(gcloud, 1)
    there(gcloud.answers("queued-resources describe", "ACTIVE"))
    ran = train(gcloud, "--flex-start")
    assert ran.returncode == 0, ran.stderr
    assert [verb for verb in gcloud.verbs if verb != "describe"] == [
        "delete",
        "create",
        "ssh",
        "install",
        "train",
        "delete",
    ]


def test_a_queued_request_that_fails_ends_it(gcloud):
    absent(gcloud, 1)
    gcloud.answers("queued-resources describe", "FAILED")
    ran = train(gcloud, "--queued")
    assert ran.returncode == 1
    assert [verb for verb in gcloud.verbs if verb != "describe"] == ["create", "delete"]


def test_a_gpu_vm_goes_the_same_way_and_has_an_end_of_its_own(gcloud):
    there(absent(gcloud, 1), "RUNNING")
    ran = train(gcloud, "--on", "gpu", "--spot", "--type", "a2-highgpu-1g")
    assert ran.returncode == 0, ran.stderr
    assert [verb for verb in gcloud.verbs if verb != "describe"] == ["create", "ssh", "install", "train", "delete"]
    create = gcloud.calls[1]
    assert create[:3] == ["compute", "instances", "create"]
    assert value(create, "--machine-type") == "a2-highgpu-1g"
    assert value(create, "--provisioning-model") == "SPOT"
    assert value(create, "--max-run-duration") == "21h"  # an hour after the script's own end
    assert "--device gpu --backend tensorflow" in commands(gcloud)[-1]
    assert commands(gcloud)[1].endswith("install.sh gpu tensorflow")


def test_on_a_slice_every_host_is_installed_and_trains_and_the_first_one_says_how_it_ended(gcloud):
    there(absent(gcloud, 1))
    gcloud.answers("on_vm.sh", code=1).answers("cat fma", "1")
    ran = train(gcloud, "--type", "v6e-16")
    assert ran.returncode == 1
    assert "ended with code 1" in ran.stderr
    remote = [(verb(call), value(call, "--worker")) for call in gcloud.calls if "ssh" in call]
    assert remote == [("ssh", "all"), ("install", "all"), ("train", "all"), ("status", "0")]
    assert gcloud.verbs[-1] == "delete"


@pytest.mark.parametrize(
    ("kind", "runtime", "hosts"),
    [
        ("v6e-8", "v2-alpha-tpuv6e", 1),
        ("v6e-64", "v2-alpha-tpuv6e", 2),
        ("v5p-8", "v2-alpha-tpuv5", 1),
        ("v5litepod-1", "v2-alpha-tpuv5-lite", 1),
        ("v5litepod-16", "v2-alpha-tpuv5-lite", 2),
        ("v4-8", "tpu-ubuntu2204-base", 1),
    ],
)
def test_each_type_of_tpu_gets_its_software_and_its_hosts(gcloud, kind, runtime, hosts):
    ran = train(gcloud, "--dry-run", "--type", kind)
    assert ran.returncode == 0, ran.stderr
    create, ssh, *_ = map(shlex.split, ran.stdout.splitlines())
    assert (value(create, "--accelerator-type"), value(create, "--version")) == (kind, runtime)
    assert ("--worker" in ssh) == (hosts > 1)
    assert (
        f"--version {runtime}-next" in train(gcloud, "--dry-run", "--type", kind, "--runtime", f"{runtime}-next").stdout
    )


def test_tensorflow_on_a_tpu_only_where_it_is_asked_for(gcloud):
    ran = gcloud.run("tpu/train.sh", *OPTIONS, "--dry-run", *TRAIN, "--backend", "tensorflow")
    assert ran.returncode == 0, ran.stderr
    assert "install.sh tpu tensorflow" in ran.stdout
    assert "--backend jax" not in ran.stdout


@pytest.mark.parametrize(
    ("options", "words", "says"),
    [
        (("--type", "tpu7x-8"), (), "TPU7x on GKE"),
        (("--type", "v6-8"), (), "no TPU VM is called so"),
        (("--type", "v6e"), (), "no TPU VM is called so"),
        (("--type", "v6e-8"), ("--backend", "tensorflow"), "ends with v5e"),
        (("--type", "v5p-8"), ("--backend=tensorflow",), "ends with v5e"),
        (("--type", "v5litepod-16"), ("--backend", "tensorflow"), "JAX only"),
        ((), ("--backend", "torch"), "jax or tensorflow"),
        (("--on", "gpu"), ("--backend", "jax"), "GPU VMs are installed with TensorFlow"),
    ],
)
def test_a_type_that_cannot_work_is_refused_in_one_line_before_anything_is_made(gcloud, options, words, says):
    ran = gcloud.run("tpu/train.sh", *OPTIONS, *options, *TRAIN, *words)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert gcloud.calls == []


@pytest.mark.parametrize(
    ("options", "begin"),
    [
        (("--external-ips",), "gcloud compute tpus tpu-vm "),
        (("--external-ips", "--queued", "--spot"), "gcloud compute tpus "),
        (("--on", "gpu"), "gcloud compute "),
        ((), "gcloud "),
    ],
)
def test_a_dry_run_prints_the_commands_and_runs_none(gcloud, options, begin):
    ran = train(gcloud, "--dry-run", *options)
    assert ran.returncode == 0, ran.stderr
    assert gcloud.calls == []
    lines = ran.stdout.splitlines()
    assert [verb(shlex.split(line)) for line in lines] == ["create", "ssh", "install", "train", "delete"]
    assert all(line.startswith(begin) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (OPTIONS[2:] + TRAIN, "--project"),
        ((*OPTIONS, "--on", "abacus", *TRAIN), "tpu or gpu"),
        ((*OPTIONS, "--spto", *TRAIN), "--spto"),
        ((*OPTIONS, "--name"), "--name needs a value"),
        ((*OPTIONS, "--", "mel_cnn", "--data", "gs://b/data", "--run", "run"), "--run gs://"),
        ((*OPTIONS, "--hours", "soon", *TRAIN), "--hours soon"),
        ((*OPTIONS, "--delete"), "--name"),
        ((*OPTIONS, "--spot", "--flex-start", *TRAIN), "exclude"),
        ((*OPTIONS, "--flex-start", "--hours", "168", *TRAIN), "167"),
        ((*OPTIONS, "--on", "gpu", "--flex-start", *TRAIN), "for TPUs"),
        ((*OPTIONS[:4], "--source", "gs://b/deploy/source-1a2b3c.tar.gz", *TRAIN), "source-TAG-SHA256.tar.gz"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(gcloud, arguments, says):
    ran = gcloud.run("tpu/train.sh", *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert gcloud.calls == []
