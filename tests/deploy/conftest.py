"""Fixtures for the scripts of deploy/."""

import pytest

from tests.deploy.recording import Gcloud


@pytest.fixture
def gcloud(tmp_path) -> Gcloud:
    """A gcloud that records; nothing leaves this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return Gcloud(folder)
