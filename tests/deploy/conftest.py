"""Fixtures for the scripts of deploy/."""

import importlib.util
from types import ModuleType

import pytest

from tests.deploy.fake_gcloud import DEPLOY, Gcloud


@pytest.fixture
def gcloud(tmp_path) -> Gcloud:
    """A gcloud that only records; nothing leaves this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return Gcloud(folder)


@pytest.fixture(scope="session")
def template_main() -> ModuleType:
    return script("dataflow", "template_main")


@pytest.fixture(scope="session")
def cluster() -> ModuleType:
    return script("flink", "cluster")


def script(folder: str, name: str) -> ModuleType:
    """A script of deploy/, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(name, DEPLOY / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
