"""The stand-ins for Dataflow and for the bucket that it works on."""

import threading
import time
import types
from collections.abc import Iterator

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.runners.dataflow import dataflow_runner

from tests.gcs.dataflow.service import Service


@pytest.fixture
def service(cloud, monkeypatch) -> Iterator[Service]:
    """A running service, which Beam polls without its usual pause of five seconds."""
    # Beam's own client of the bucket asks for credentials even where there is an emulator.
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)
    clock = types.SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(min(seconds, 0.05)))
    monkeypatch.setattr(dataflow_runner, "time", clock)
    running = Service()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
