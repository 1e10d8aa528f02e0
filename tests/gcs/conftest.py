"""The stand-in for cloud storage, one for all tests of this folder, each of which begins with an empty folder in it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gcs.corpus import digest_of, ingest, make_corpus
from tests.gcs.stack import BUCKET, Cloud, running

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stand_in() -> Iterator[Cloud]:
    with running() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """See `make_corpus`; on this machine."""
    folder = tmp_path_factory.mktemp("cloud") / "corpus"
    make_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def digests(corpus) -> dict[str, str]:
    """Digests of a dataset of this machine, grown from small to medium."""
    out = str(corpus.parent / "dataset")
    found = {}
    for subset in ("small", "medium"):
        assert ingest(str(corpus), out, subset) == 0
        found[subset] = digest_of(out)
    return found


@pytest.fixture
def cloud(stand_in, monkeypatch) -> Cloud:
    """The stand-in, to which this process and those that it starts turn for gs://."""
    for name, value in stand_in.environment.items():
        monkeypatch.setenv(name, value)
    stand_in.requests()
    return stand_in


@pytest.fixture
def folder(cloud) -> str:
    """An address that nothing lies at yet."""
    return f"gs://{BUCKET}/test-{next(_numbers)}"
