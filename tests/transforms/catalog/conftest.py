"""The archive server that the tests of downloads share."""

import pytest

from tests.transforms.catalog.archive_server import serving


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        yield running
