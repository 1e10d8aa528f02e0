"""What a Flink cluster says of itself, by its REST API."""

from dataclasses import dataclass
from typing import Any

import requests

from transforms.errors import FmaError

SECONDS = 5.0
"""That the cluster has for an answer."""

RUNNING = {"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING"}


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster, by the address of its JobManager: `host:port`, with http:// or https:// before it or without."""

    master: str

    @property
    def url(self) -> str:
        """Of the REST API, and of the page that people look at."""
        return self.master if "://" in self.master else f"http://{self.master}"

    def version(self) -> str:
        """Such as `1.19`."""
        return ".".join(str(self._get("/overview", "flink-version")).split(".")[:2])

    def slots(self) -> int:
        """How many tasks of one step the cluster runs at a time.

        Raises:
          FmaError: none, or the cluster does not answer.
        """
        slots = int(self._get("/overview", "slots-total"))
        if not slots:
            raise FmaError(f"the Flink cluster at {self.url} has no TaskManager: start one")
        return slots

    def running(self, name: str) -> list[str]:
        """Ids of the jobs of that name that have not ended."""
        jobs = self._get("/jobs/overview", "jobs")
        return [job["jid"] for job in jobs if job["name"] == name and job["state"] in RUNNING]

    def cancel(self, name: str) -> None:
        """Asks the cluster to end the jobs of that name."""
        for job in self.running(name):
            self._ask("PATCH", f"/jobs/{job}?mode=cancel")

    def _get(self, path: str, field: str) -> Any:
        try:
            return self._ask("GET", path).json()[field]
        except (ValueError, KeyError, TypeError) as error:
            raise FmaError(f"{self.url} is no Flink cluster: it does not answer as Flink's REST API does") from error

    def _ask(self, method: str, path: str) -> requests.Response:
        try:
            answer = requests.request(method, self.url + path, timeout=SECONDS)
            answer.raise_for_status()
        except requests.ConnectionError as error:
            raise FmaError(f"no Flink cluster answers at {self.url}: start it, or check --flink_master") from error
        except requests.RequestException as error:
            raise FmaError(f"the Flink cluster at {self.url} refuses to answer: {error}") from error
        return answer
