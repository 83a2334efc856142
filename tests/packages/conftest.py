"""What is built, once for all the files of this folder."""

from pathlib import Path

import pytest

from .environments import DISTRIBUTIONS, Environment, build


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdists and wheels of all our distributions."""
    folder = tmp_path_factory.mktemp("dist")
    for source in DISTRIBUTIONS.values():
        build(source, folder)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("chanlink-*.whl")
    return wheel


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """An environment with chanlink, and no extra."""
    environment = Environment(tmp_path_factory.mktemp("plain"))
    environment.install(wheel)
    return environment
