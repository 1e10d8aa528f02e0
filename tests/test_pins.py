from importlib import metadata

import pytest
from packaging.specifiers import SpecifierSet


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_pip_may_install_every_pinned_package_for_every_python_that_we_support(python):
    asked = {(found.name, found.version): found.metadata["Requires-Python"] or "" for found in metadata.distributions()}
    assert [package for package, pythons in asked.items() if python not in SpecifierSet(pythons)] == []
