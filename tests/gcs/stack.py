"""The stand-in in a process of its own (in TensorFlow's process the two would wait for each other), and its client.

python -m tests.gcs.stack FOLDER     # prints the environment to reach it as JSON, serves until its input ends
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

BUCKET = "music"


class Cloud:
    """A running stand-in, as tests see it.

    Attributes:
      environment: what a process needs to reach it.
    """

    def __init__(self, environment: dict[str, str]):
        self.environment = environment

    def control(self, what: str, values: Any = None) -> Any:
        address = f"{self.environment['STORAGE_EMULATOR_HOST']}/control/{what}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, json.dumps(values).encode()) as answer:
            return json.loads(answer.read())

    def requests(self, method: str = "", containing: str = "") -> list[dict[str, Any]]:
        """The requests since the last call, or those of them that match."""
        found = self.control("requests")
        return [one for one in found if method in ("", one["method"]) and containing in one["path"]]

    def counts(self, containing: str = "") -> Counter:
        """How many requests of each method there were since the last call."""
        return Counter(one["method"] for one in self.requests(containing=containing))

    @contextlib.contextmanager
    def faults(self, **values: Any) -> Iterator[list[int]]:
        """Faults while the body runs (see `Faults.begin`); gives a list that holds their number in the end."""
        self.control("faults", values)
        met: list[int] = []
        try:
            yield met
        finally:
            met.append(self.control("faults", {}))

    def names(self, prefix: str = "", bucket: str = BUCKET) -> list[str]:
        """Return the names of a bucket's objects below a prefix."""
        return [name for name in self.control("names", bucket) if name.startswith(prefix)]


@contextlib.contextmanager
def running() -> Iterator[Cloud]:
    """Start the stand-in, with an empty bucket `BUCKET`."""
    with tempfile.TemporaryDirectory(prefix="fma-cloud-") as folder:
        command = [sys.executable, "-m", "tests.gcs.stack", folder]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            yield Cloud(json.loads(process.stdout.readline()))
        finally:
            process.kill()
            process.wait()


def main() -> None:
    from tests.gcs.server import Server
    from tests.gcs.tls import Proxy

    server = Server(0, BUCKET)
    proxy = Proxy(server.server_address[1], sys.argv[1])
    for serving in (server, proxy):
        threading.Thread(target=serving.serve_forever, daemon=True).start()
    host = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.server_address[1]}"}
    print(json.dumps(proxy.environment | host), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
