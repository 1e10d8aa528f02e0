"""deploy/tpu/train.sh: it always ends and deletes its VM; a VM that an earlier call has left is used."""

import os
import signal
import time

import pytest

from tests.deploy.fake_gcloud import value
from tests.deploy.test_train_script import OPTIONS, TRAIN, absent, there, train


def started(gcloud, until: str, *options: str, **variables: str):
    """The script, running a remote command."""
    process = gcloud.start("tpu/train.sh", *OPTIONS, *options, *TRAIN, **variables)
    limit = time.monotonic() + 30
    while until not in gcloud.verbs and time.monotonic() < limit:
        time.sleep(0.05)
    return process


def ended(process) -> tuple[float, str]:
    """Seconds until its end, and its output."""
    began = time.monotonic()
    _, said = process.communicate(timeout=40)
    return time.monotonic() - began, said


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=str,
)
@pytest.mark.parametrize("group", [True, False], ids=["to the group", "to the script alone"])
def test_a_signal_during_a_remote_call_deletes_the_vm_at_once(gcloud, number, code, group):
    there(absent(gcloud, 1))
    gcloud.answers("on_vm.sh", seconds=30)
    process = started(gcloud, "train")
    (os.killpg if group else os.kill)(process.pid, number)
    seconds, _ = ended(process)
    assert process.returncode == code
    assert gcloud.verbs[-1] == "delete"
    assert seconds < 10


def test_a_signal_while_a_vm_is_asked_for_deletes_it_though_it_does_not_show_yet(gcloud):
    absent(gcloud)
    gcloud.answers("create", seconds=30)
    process = started(gcloud, "create")
    process.terminate()
    seconds, _ = ended(process)
    assert gcloud.verbs[-1] == "delete"
    assert seconds < 10


@pytest.mark.long
def test_when_the_hours_are_over_the_vm_is_deleted_in_the_middle_of_the_training(gcloud):
    there(absent(gcloud, 1))
    gcloud.answers("on_vm.sh", seconds=30)
    seconds, said = ended(started(gcloud, "train", "--hours", "2", HOUR="3"))
    assert "the 2 hours are over" in said
    assert gcloud.verbs[-1] == "delete"
    assert seconds < 15


def test_the_hours_end_a_wait_for_capacity_too(gcloud):
    absent(gcloud, 1)
    gcloud.answers("queued-resources describe", "WAITING_FOR_RESOURCES")
    variables = {"HOUR": "2", "POLL_SECONDS": "20"}
    process = started(gcloud, "describe", "--queued", "--hours", "1", **variables)
    seconds, _ = ended(process)
    assert process.returncode == 124
    assert gcloud.verbs[-1] == "delete"
    assert seconds < 15


def test_a_connection_that_is_lost_for_ever_ends_it(gcloud):
    there(absent(gcloud, 1))
    gcloud.answers("on_vm.sh", code=255).answers("cat fma", code=255)
    ran = train(gcloud)
    assert ran.returncode == 1
    assert "6 times in a row" in ran.stderr
    assert gcloud.verbs.count("train") == 6
    assert gcloud.verbs[-1] == "delete"


@pytest.mark.parametrize("state", ["ACCEPTED", "PROVISIONING", "WAITING_FOR_RESOURCES", "CREATING"])
def test_a_request_that_an_earlier_call_left_is_waited_for(gcloud, state):
    gcloud.answers("queued-resources describe", state, times=2)
    there(gcloud.answers("queued-resources describe", "ACTIVE"))
    ran = train(gcloud, "--queued")
    assert ran.returncode == 0, ran.stderr
    assert [verb for verb in gcloud.verbs if verb != "describe"] == ["ssh", "install", "train", "delete"]
    assert "carrying on with it" in ran.stderr


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED", "STOPPED"])
def test_a_vm_that_an_earlier_call_left_and_that_has_ended_is_replaced(gcloud, state):
    there(absent(there(gcloud, state, times=1), 1))
    ran = train(gcloud)
    assert ran.returncode == 0, ran.stderr
    once = ["create", "ssh", "install", "train", "delete"]
    assert [verb for verb in gcloud.verbs if verb != "describe"] == ["delete", *once]


def test_what_nobody_knows_of_is_asked_again_before_anything_is_made(gcloud):
    gcloud.answers("describe", code=1, times=2, err="ERROR: 503 try again later")
    ran = train(there(gcloud))
    assert ran.returncode == 0, ran.stderr
    assert "create" not in gcloud.verbs


def test_a_vm_that_stops_while_it_is_made_counts_as_gone(gcloud):
    there(absent(gcloud, 1), "STOPPED")
    ran = train(gcloud)
    assert ran.returncode == 1
    assert [verb for verb in gcloud.verbs if verb != "describe"] == ["create", "delete"]


def test_what_a_killed_call_has_left_can_be_deleted_alone(gcloud):
    there(gcloud)
    ran = gcloud.run("tpu/train.sh", *OPTIONS, "--delete", "--name", "fma-mel-cnn-1a2b")
    assert ran.returncode == 0, ran.stderr
    assert gcloud.verbs == ["describe", "delete"]
    assert "fma-mel-cnn-1a2b" in gcloud.calls[-1]
    gcloud._answers = []
    ran = absent(gcloud).run("tpu/train.sh", *OPTIONS, "--delete", "--name", "fma-mel-cnn-1a2b")
    assert ran.returncode == 0
    assert gcloud.verbs == ["describe"]


def test_two_runs_of_a_model_have_a_vm_each_and_one_run_has_always_the_same(gcloud):
    names = []
    for run in ("--run=gs://b/one", "--run=gs://b/two", "--run=gs://b/one"):
        ran = gcloud.run("tpu/train.sh", *OPTIONS, "--dry-run", "--", "mel_cnn", "--data=gs://b/data", run)
        assert ran.returncode == 0, ran.stderr
        names.append(ran.stdout.split()[5])
    assert names[0] == names[2] != names[1]


def test_a_vm_has_no_public_address_in_terraform_s_network_unless_asked_for(gcloud):
    ran = train(gcloud, "--dry-run")
    assert "--network fma --subnetwork fma --internal-ips" in ran.stdout
    assert "--tunnel-through-iap" in ran.stdout
    assert "--network fma --subnet fma --no-address" in train(gcloud, "--dry-run", "--on", "gpu").stdout
    for on in ("tpu", "gpu"):
        public = train(gcloud, "--dry-run", "--on", on, "--external-ips", "--network", "default").stdout
        assert "--network default" in public
        assert not any(word in public for word in ("--internal-ips", "--no-address", "iap"))


def test_a_network_of_ones_own_is_handed_on(gcloud):
    there(absent(gcloud, 1))
    own = ("--network", "n", "--subnetwork", "s", "--internal-ips")
    assert train(gcloud, *own).returncode == 0
    create, ssh = gcloud.calls[1], gcloud.calls[3]
    assert (value(create, "--network"), value(create, "--subnetwork")) == ("n", "s")
    assert "--internal-ips" in create
    assert ssh[0] == "alpha"
    assert "--tunnel-through-iap" in ssh
    there(absent(gcloud, 1), "RUNNING")
    ran = train(gcloud, "--dry-run", "--on", "gpu", *own)
    assert "--network n --subnet s --no-address" in ran.stdout
    assert "ssh fma-mel-cnn" in ran.stdout
    assert "--tunnel-through-iap" in ran.stdout


def test_without_credentials_nothing_is_asked_for(gcloud):
    gcloud.answers("print-access-token", code=1, err="ERROR: You do not currently have an active account selected.")
    ran = train(gcloud)
    assert ran.returncode == 1
    assert "gcloud auth login" in ran.stderr
    assert gcloud.calls == []


def test_a_gcloud_that_is_missing_does_not_read_as_a_vm_that_is_gone(gcloud):
    gcloud.answers("describe", code=127, err="gcloud: command not found")
    ran = train(gcloud)
    assert ran.returncode == 1
    assert "create" not in gcloud.verbs
    assert "still UNKNOWN" in ran.stderr
