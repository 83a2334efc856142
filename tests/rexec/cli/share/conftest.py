"""A server, and a user who shares sessions with it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rexec.cli.share.users import User
from tests.rexec.servers import Server, serves, until

server = serves()


@pytest.fixture
def user(server: Server) -> Iterator[User]:
    with tempfile.TemporaryDirectory(prefix="share-") as home:  # the path of a Unix socket has little room
        user = User(server, Path(home))
        yield user
        user.share("--stop")
        if user.folder.exists():
            until(lambda: all(path.suffix == ".lock" for path in user.folder.iterdir()))
