"""A stand-in for the Dataflow service: it takes jobs through the same API and runs them here from the staged files."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class Service(http.server.ThreadingHTTPServer):
    """The service.

    Attributes:
      jobs: as they were posted.
      refusal: (HTTP status, message) that the next job is answered with, or None.
      failure: what a job fails with; "" where jobs are run.
      state: of the last job.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: list[dict[str, Any]] = []
        self.refusal: tuple[int, str] | None = None
        self.failure = ""
        self.state = ""
        self.messages: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://localhost:{self.server_address[1]}"

    def begin(self, job: dict[str, Any]) -> None:
        """Take a job and start it."""
        self.jobs.append(job)
        self.state, self.messages = "JOB_STATE_RUNNING", ["Workers have started."]
        if self.failure:
            threading.Timer(0.2, self.fail).start()
        else:
            threading.Thread(target=self.work, args=(job,), daemon=True).start()

    def fail(self) -> None:
        """End the job with `failure`."""
        self.state, self.messages = "JOB_STATE_FAILED", [self.failure]

    def work(self, job: dict[str, Any]) -> None:
        """Run a job as its workers would: in another process, from the pipeline in the bucket."""
        staged = pipeline_of(job)
        ran = subprocess.run(
            [sys.executable, "-m", "tests.gcs.dataflow.worker", staged],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.messages = [] if ran.returncode == 0 else [ran.stderr[-2000:]]
        self.state = "JOB_STATE_FAILED" if ran.returncode else "JOB_STATE_DONE"


def pipeline_of(job: dict[str, Any]) -> str:
    """Where a job's pipeline is staged."""
    return job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def _send(self, values: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refusal:
            status, message = self.server.refusal
            return self._send({"error": {"code": status, "message": message}}, status)
        self.server.begin(job)
        return self._send(self._job())

    def do_GET(self) -> None:
        if "/messages" in self.path:
            kind = "JOB_MESSAGE_ERROR" if self.server.state == "JOB_STATE_FAILED" else "JOB_MESSAGE_BASIC"
            stamp = {"time": "2026-01-01T00:00:00Z", "messageImportance": kind}
            found = [stamp | {"id": str(i), "messageText": text} for i, text in enumerate(self.server.messages)]
            return self._send({"jobMessages": found})
        if "/metrics" in self.path:
            return self._send({"metrics": []})
        return self._send(self._job())

    def _job(self) -> dict[str, Any]:
        job = self.server.jobs[-1]
        facts = {"name": job["name"], "projectId": "my-project", "location": "us-central1"}
        return facts | {"id": f"job-{len(self.server.jobs)}", "currentState": self.server.state}
