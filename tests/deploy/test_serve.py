"""deploy/serve: the image of fma serve, and serve.sh's calls of gcloud."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading

import pytest
import yaml

import fma
from tests.deploy.fake_gcloud import DEPLOY, ROOT, value

OPTIONS = ("--project", "p", "--region", "r", "--bucket", "gs://b", "--tag", "1a2b3c")
IMAGES = "r-docker.pkg.dev/p/fma"
DOCKERFILE = (DEPLOY / "serve" / "Dockerfile").read_text()


def serve(gcloud, command: str, *words: str):
    return gcloud.run("serve/serve.sh", command, *OPTIONS, *words)


def substitutions(call: list[str]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in value(call, "--substitutions").split(","))


def test_both_images_are_built_by_one_configuration(gcloud):
    ran = serve(gcloud, "build", "--base", "python:3.11@sha256:12")
    assert ran.returncode == 0, ran.stderr
    (call,) = gcloud.calls
    given = substitutions(call)
    assert given["_IMAGE"] == f"{IMAGES}/serve:1a2b3c"
    assert given["_BUILD_ARGS"] == "--build-arg BASE=python:3.11@sha256:12"
    assert value(call, "--gcs-source-staging-dir") == "gs://b-code/builds"
    assert (ROOT / given["_DOCKERFILE"]).read_text().count("\nFROM ${BASE}\n") == 1
    config = (DEPLOY / "image.yaml").read_text()
    assert set(given) == set(re.findall(r"\$\{(_\w+)\}", config))
    assert set(yaml.safe_load(config)["substitutions"]) == set(given) - {"_IMAGE", "_BUILDER"}


def test_a_service_runs_fma_serve_with_health_checks_limits_and_an_account_of_its_own(gcloud):
    gcloud.answers("projects describe", "123")
    ran = serve(gcloud, "run", "--", "gs://b/runs/mel_cnn", "--data", "gs://b/large")
    assert ran.returncode == 0, ran.stderr
    call = gcloud.calls[-1]
    assert call[:3] == ["run", "deploy", "fma"]
    assert value(call, "--service-account") == "fma-serve@p.iam.gserviceaccount.com"
    assert "--no-allow-unauthenticated" in call
    for probe in ("--startup-probe", "--liveness-probe"):
        assert dict(pair.split("=") for pair in value(call, probe).split(","))["httpGet.path"] == "/healthz"
    assert (value(call, "--memory"), value(call, "--max-instances")) == ("4Gi", "4")
    _, args = fma.parse("serve", value(call, "--args").removeprefix("^~^").split("~"))
    assert (args.run, args.data) == ("gs://b/runs/mel_cnn", "gs://b/large")
    assert args.allow_host == ["fma-123.r.run.app"]
    assert args.max_upload < 32, "Cloud Run ends larger requests"


def test_a_service_is_public_only_if_asked_to_be(gcloud):
    gcloud.answers("projects describe", "123")
    serve(gcloud, "run", "--public", "--", "gs://b/runs/mel_cnn")
    assert "--allow-unauthenticated" in gcloud.calls[-1]


def test_an_endpoint_serves_the_new_model_and_no_earlier_one(gcloud):
    gcloud.answers("endpoints describe", "projects/1/endpoints/fma\t11;22")
    ran = serve(gcloud, "endpoint", "--", "gs://b/exported/mel_cnn/")
    assert ran.returncode == 0, ran.stderr
    build, upload, describe, deploy, *undeploy = gcloud.calls
    assert substitutions(build)["_MODEL"] == "gs://b/exported/mel_cnn"
    assert substitutions(build)["_IMAGE"] == value(upload, "--container-image-uri")
    assert "describe" in describe
    assert value(upload, "--model-id") == value(deploy, "--model")
    assert value(deploy, "--traffic-split") == "0=100"
    assert [value(call, "--deployed-model-id") for call in undeploy] == ["11", "22"]


def test_an_endpoint_is_created_where_there_is_none_but_not_where_the_service_does_not_answer(gcloud):
    gcloud.answers("endpoints describe", code=1, err="ERROR: NOT_FOUND: the endpoint fma", times=1)
    assert serve(gcloud, "endpoint", "--", "gs://b/exported").returncode == 0
    assert [call[2] for call in gcloud.calls[1:]] == ["upload", "describe", "create", "deploy-model"]
    gcloud._answers = []
    gcloud.answers("endpoints describe", code=1, err="ERROR: 503")
    assert serve(gcloud, "endpoint", "--", "gs://b/exported").returncode == 1
    assert gcloud.calls[-1][2] == "describe"


@pytest.mark.parametrize(("command", "lines"), [("build", 1), ("run", 1), ("endpoint", 4)])
def test_a_dry_run_prints_the_commands_and_runs_none(gcloud, command, lines):
    ran = serve(gcloud, command, "--dry-run", *(() if command == "build" else ("--", "gs://b/model")))
    assert ran.returncode == 0, ran.stderr
    assert gcloud.calls == []
    assert len(ran.stdout.splitlines()) == lines


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", *OPTIONS, "--", "runs/mel_cnn"), "gs://..."),
        (("endpoint", *OPTIONS), "gs://..."),
        (("run", *OPTIONS, "--instances", "many", "--", "gs://b/r"), "--instances many"),
        (("run", *OPTIONS, "--name", "My_Service", "--", "gs://b/r"), "--name My_Service"),
        (("sevre", *OPTIONS), "sevre"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(gcloud, arguments, says):
    ran = gcloud.run("serve/serve.sh", *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert gcloud.calls == []


def instruction(name: str) -> list[str]:
    """The words of an instruction of the Dockerfile in its JSON form."""
    return json.loads(re.search(rf"^\s*{name}\s+(\[.+\])$", DOCKERFILE, re.M)[1])


def test_the_image_passes_on_its_port_and_arguments(tmp_path):
    program = tmp_path / "fma"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PORT": "8081"}
    command = [*instruction("ENTRYPOINT"), "gs://b/my run", "--data", "d"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout == "serve|--host|0.0.0.0|--port|8081|gs://b/my run|--data|d|"


@pytest.mark.parametrize("status", [200, 503])
def test_the_image_is_healthy_as_long_as_the_server_says_so(status):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        environment = os.environ | {"PORT": str(server.server_port)}
        _, *words = instruction("CMD")
        ran = subprocess.run([sys.executable, *words], capture_output=True, check=False, env=environment)
    assert (ran.returncode == 0) is (status == 200)


def test_serving_a_tflite_or_a_classical_model_imports_only_what_the_image_has():
    requirements = (DEPLOY / "serve" / "requirements.txt").read_text()
    absent = {"tensorflow", "keras", "apache_beam", "librosa", "matplotlib", "tensorboard", "tinytag"}
    assert not absent & set(requirements.split())
    modules = "trainers.commands.serve, trainers.serving.app, trainers.serving.lite, trainers.serving.classical"
    script = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import {modules}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
