"""What the tests of pages share."""

import os
from pathlib import Path

import pytest

from .installed import installed_once


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with chanlink and rexec as a user has them: `bin/python`, `bin/chanlink`, `bin/rexec`."""
    base = tmp_path_factory.getbasetemp()
    return installed_once((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed")
