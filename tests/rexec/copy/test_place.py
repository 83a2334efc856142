"""Where the paths of a copy begin, and that beneath a root nothing leads out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import chanlink
from examples.rexec.copy.client import copy
from examples.rexec.copy.messages import CopyError
from examples.rexec.copy.service import copy_service
from tests.rexec.copy.test_receiving import assert_nothing_outside
from tests.rexec.copy.trees import names, server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder to copy into, with a neighbour that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


class TestRoots:
    """A server with a root folder."""

    @pytest.fixture
    def root(self, here: Path) -> Path:
        (here / "sub").mkdir()
        (here / "sub" / "file").write_text("inside")
        (here / "out").symlink_to(here.parent / "outside")
        (here / "outfile").symlink_to(here.parent / "outside" / "file")
        (here / "alias").symlink_to("sub")
        return here

    @asynccontextmanager
    async def rooted(self, root: Path) -> AsyncIterator[chanlink.Session]:
        async with server(copy_service(root)) as session:
            yield session

    @pytest.mark.parametrize("path", ["sub/file", "/sub/file", "./sub//file", "//sub/./file"])
    async def test_paths_begin_at_the_root(self, path: str, root: Path, tmp_path: Path) -> None:
        async with self.rooted(root) as session:
            assert (await copy([path], tmp_path / "got", source=session)).files == 1
            assert (await copy([tmp_path / "got"], f"{path}2", destination=session)).files == 1
        assert (root / "sub" / "file2").read_text() == "inside"

    @pytest.mark.parametrize(
        "path", ["../outside/file", "sub/../../outside/file", "out/file", "outfile", "alias/file", "/etc/passwd", "~/x"]
    )
    async def test_nothing_outside_can_be_read(self, path: str, root: Path, tmp_path: Path) -> None:
        async with self.rooted(root) as session:
            done = await copy([path], tmp_path / "got", source=session)
        assert (done.files, len(done.problems)) == (0, 1)
        assert not (tmp_path / "got").exists()

    @pytest.mark.parametrize("path", ["..", "../outside/new", "out/new", "out", "alias/new", "sub/../../outside/file"])
    async def test_nothing_outside_can_be_written(self, path: str, root: Path, tmp_path: Path) -> None:
        (source := tmp_path / "outside" / "file").read_text()
        async with self.rooted(root) as session:
            try:
                done = await copy([source], path, destination=session)
            except CopyError:
                pass
            else:
                assert done.files == 1  # it took the place of a link
                assert (path, (root / "out").is_symlink()) == ("out", False)
        assert_nothing_outside(root)
        assert names(root / "sub") == ["file"]

    async def test_links_are_copied_from_a_root_as_links(self, root: Path, tmp_path: Path) -> None:
        async with self.rooted(root) as session:
            done = await copy(["/"], tmp_path / "got", source=session, recursive=True)
        assert (done.files, len(done.notes)) == (1, 2)
        assert names(tmp_path / "got") == ["alias", "sub"]
