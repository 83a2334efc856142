"""The copy service of examples/rexec at odd places: names of all kinds, devices, /proc, disks that refuse something.

What is expected is what rsync does, or scp where that differs; where rsync is on this machine, it is asked.
"""

import contextlib
import errno
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.rexec.copy import messages as copying
from examples.rexec.copy.client import copy
from examples.rexec.copy.messages import CopyError
from examples.rexec.copy.part import part_name
from examples.rexec.copy.place import Place, open_inner, opened_in
from examples.rexec.copy.target import Target
from examples.rexec.copy.walk import WRONG_SIZE
from tests.refusing import LINKS, MODES, needs_refusing, refusing
from tests.rexec.copy.trees import LARGE, WAYS, all_ways, assert_copied, contents, names, part_of, server, way
from tests.rexec.servers import COMMAND, ROOT, serving

pytestmark = pytest.mark.anyio
leaving_nothing = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """What a file system says is the same on all of them."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a tree."""
    (tmp_path / "x" / "sub").mkdir(parents=True)
    (tmp_path / "x" / "f").write_text("f")
    (tmp_path / "x" / "sub" / "g").write_text("g")
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o750)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


INSIDE = ["f", "sub", "sub/g"]
X = ["x", "x/f", "x/sub", "x/sub/g"]


@leaving_nothing
class TestPaths:
    @pytest.mark.parametrize(
        ("source", "target", "expected", "as_rsync"),
        [
            ("x", "there", X, True),
            ("x", "there/", X, True),
            ("x", "there/.", X, True),
            ("x", "x/../there", X, True),
            ("./x//", "there", X, False),  # here rsync differs from scp and cp: a slash means the content
            ("x/.", "there", INSIDE, True),
            ("x/./", "there/", INSIDE, True),
            ("x/sub/..", "there", INSIDE, True),
            ("x/sub/../", "there", INSIDE, True),
            ("x/.", "there/new", ["new", *(f"new/{name}" for name in INSIDE)], True),
            ("x", "there/new", ["new", *(f"new/{name}" for name in INSIDE)], False),  # scp and cp rename it
            ("x", "there/new/", ["new", *(f"new/{name}" for name in INSIDE)], False),
            ("x/f", "there", ["f"], True),
            ("x/f", "there/", ["f"], True),
            ("x/f", "there/new", ["new"], True),
            ("x/sub/../f", "there", ["f"], True),
        ],
    )
    @pytest.mark.parametrize("name", ["there", "back"])
    async def test_a_path_means_what_it_means_to_others(
        self, source: str, target: str, expected: list[str], as_rsync: bool, name: str, here: Path
    ) -> None:
        async with way(name) as sides:
            done = await copy([source], target, recursive=True, **sides)
        assert (done.problems, done.notes) == ([], [])
        assert found("there") == expected
        assert stat.S_IMODE(Path("there").stat().st_mode) == 0o750  # its content was copied, not its mode
        if as_rsync and (rsync := shutil.which("rsync")):
            shutil.rmtree("there")
            os.mkdir("there")
            subprocess.run([rsync, "-r", source, target], check=True)
            assert found("there") == expected

    @all_ways
    async def test_the_folder_that_we_are_in_and_the_root(
        self, name: str, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir("x")
        async with way(name) as sides:
            assert_copied(await copy(["."], "../there", recursive=True, **sides), 2)
            monkeypatch.chdir("../there/sub")
            assert_copied(await copy([f"{here}/x/f"], ".", recursive=True, **sides), 1)
            assert_copied(await copy([f"{here}/x/f"], "..", recursive=True, **sides), 1)
            assert_copied(await copy([f"{here}/x"], "", recursive=True, **sides), 2)
        monkeypatch.chdir(here)
        assert found("there") == ["f", "sub", "sub/f", "sub/g", "sub/x", "sub/x/f", "sub/x/sub", "sub/x/sub/g"]

    async def test_the_home_folder_has_no_name(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", f"{here}/x")
        async with server() as session:
            assert_copied(await copy(["~"], "there", source=session, recursive=True), 2)
            assert_copied(await copy(["~/f"], "~/new", source=session, recursive=True), 1)
        assert found("there") == INSIDE
        assert found("x") == ["f", "new", "sub", "sub/g"]

    @all_ways
    async def test_two_of_one_name_are_an_error_before_anything_is_copied(self, name: str, here: Path) -> None:
        Path("x/sub/f").touch()
        async with way(name) as sides:
            with pytest.raises(CopyError) as caught:
                await copy(["x/sub/g", "x/f", "x/sub/f"], "there", **sides)
        assert str(caught.value) == "x/f and x/sub/f would both become there/f; copy them one after another"
        assert found("there") == []

    async def test_contents_and_names_go_into_one_folder(self, here: Path) -> None:
        async with server() as session:
            assert_copied(await copy(["x/.", "x", "x/sub/."], "there", source=session, recursive=True), 5)
        assert found("there") == [*INSIDE[:1], "g", *INSIDE[1:], *X]

    async def test_a_file_without_a_name_is_refused(self, here: Path) -> None:
        async with server() as session:
            done = await copy(["~file"], "there", source=session)
            assert done.problems == ["~file: No such file or directory"]
            Path("~file").touch()
            done = await copy(["~file"], "there", source=session)
            assert done.problems == ["there: is a folder; say how the copy in it is to be called"]
            assert_copied(await copy(["./~file"], "there", source=session), 1)
        assert found("there") == ["~file"]


@leaving_nothing
class TestNames:
    NAMES = (
        b"\xff\xfe",
        "ü".encode("latin-1"),
        b"line\nbreak",
        b"\x1b[31mred",
        b"-rf",
        b" ",
        b"a:b",
        b"~",
        b"*",
        b"n" * 255,
        "ü".encode() * 127,
    )

    @all_ways
    async def test_names_travel_as_they_are(self, name: str, here: Path) -> None:
        for one in self.NAMES:
            folder = Path(os.fsdecode(b"x/sub/" + one))
            folder.mkdir()
            for inner in self.NAMES:
                (folder / os.fsdecode(inner)).write_bytes(inner)
        before = contents(Path("x/sub"))
        async with way(name) as sides:
            assert_copied(await copy(["x/sub"], "there", recursive=True, **sides), 1 + len(self.NAMES) ** 2)
            for one in self.NAMES:
                assert_copied(await copy([b"x/sub/" + one + b"/" + one], b"there/" + one, **sides), 1)
        assert contents(Path("there/sub")) == before
        assert sorted(os.listdir(b"there")) == sorted([b"sub", *self.NAMES])

    async def test_long_names_have_each_a_part_of_its_own(self, here: Path) -> None:
        first, second = "n" * 254 + "1", "n" * 254 + "2"
        for name in (first, second):
            Path(name).write_bytes(LARGE)
        part = Path("there") / os.fsdecode(part_name(first.encode()))
        part.write_bytes(LARGE[:-1])
        async with server() as session:
            assert (await copy([second], "there", destination=session)).spared == 0
            assert (await copy([first], "there", destination=session)).spared == len(LARGE) - 1
        assert found("there") == [first, second]


@leaving_nothing
class TestKinds:
    @pytest.fixture
    def odd(self, here: Path) -> dict[str, str]:
        """What is neither a file nor a folder, by name."""
        os.mkfifo("x/fifo")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("x/socket")
        kinds = {"fifo": "x/fifo", "socket": "x/socket", "device": "/dev/null"}
        if os.geteuid() == 0:
            os.mknod("x/own device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        return kinds

    @all_ways
    async def test_what_is_neither_a_file_nor_a_folder_is_not_copied(
        self, name: str, odd: dict[str, str], here: Path
    ) -> None:
        async with way(name) as sides:
            for path in odd.values():
                done = await copy([path], "there", **sides)
                assert done.problems == [f"{path}: is neither a file nor a folder"]
            done = await copy(["x"], "there", recursive=True, **sides)
        assert_copied(done, 2)
        assert all(re.fullmatch(r"x/[a-z ]+: left out: it is neither a file nor a folder", line) for line in done.notes)
        assert found("there") == X

    @all_ways
    async def test_a_link_that_is_copied_to_is_replaced_and_not_written_through(self, name: str, here: Path) -> None:
        Path("old").write_text("old")
        for link, target in (("link", "old"), ("dangling", "nowhere")):
            Path(link).symlink_to(target)
            async with way(name) as sides:
                assert_copied(await copy(["x/f"], link, **sides), 1)
            assert (Path(link).is_symlink(), Path(link).read_text()) == (False, "f")
        assert (Path("old").read_text(), Path("nowhere").exists()) == ("old", False)
        Path("folder").symlink_to("there")
        async with way(name) as sides:
            assert_copied(await copy(["x"], "folder", recursive=True, **sides), 2)
        assert (Path("folder").is_symlink(), found("there")) == (True, X)

    async def test_folders_that_may_not_be_listed_or_entered_are_lines(self, here: Path) -> None:
        for name, mode in (("unlisted", 0o300), ("unentered", 0o600), ("shut", 0)):
            (Path("x") / name).mkdir()
            (Path("x") / name / "file").touch()
            (Path("x") / name).chmod(mode)
        if os.geteuid() == 0:
            here.chmod(0o711)
            os.chown("there", 65_534, -1)
            "x".encode("idna")  # imports what others may not read
            os.seteuid(65_534)
        try:
            async with server() as session:
                done = await copy(["x"], "there", destination=session, recursive=True)
        finally:
            os.seteuid(0) if os.getuid() == 0 else None
        expected = ["shut", "unentered/file" if os.geteuid() else "unentered", "unlisted"]
        assert sorted(done.problems) == [f"x/{name}: Permission denied" for name in expected]
        assert (done.files, Path("there/x/f").read_text()) == (2, "f")


@leaving_nothing
class TestProc:
    """Files that the system makes while they are read have no size before."""

    @pytest.mark.parametrize(
        "path", ["/proc/version", "/proc/sys/kernel/ostype", "/sys/class/net/lo/mtu", "/proc/sys/kernel/hostname"]
    )
    @pytest.mark.parametrize("name", WAYS)
    async def test_what_is_short_is_copied(self, path: str, name: str, here: Path) -> None:
        if not os.path.exists(path):
            pytest.skip("this system has no such file")
        async with way(name) as sides:
            done = await copy([path], "there/f", **sides)
        assert (done.problems, done.bytes) == ([], os.stat("there/f").st_size)
        assert Path("there/f").read_bytes() == Path(path).read_bytes() != b""

    async def test_what_is_long_is_not_copied_and_the_reason_is_said(self, here: Path) -> None:
        if len(Path("/proc/kallsyms").read_bytes() if os.path.exists("/proc/kallsyms") else b"") <= copying.INLINE:
            pytest.skip("this system has no such file")
        async with server() as session:
            done = await copy(["/proc/kallsyms"], "there", source=session)
        assert done.problems == [f"/proc/kallsyms: {WRONG_SIZE}"]
        assert found("there") == []

    async def test_what_can_not_be_read_says_why(self, here: Path) -> None:
        if not os.path.exists("/proc/self/mem"):
            pytest.skip("this system has no such file")
        async with server() as session:
            done = await copy(["/proc/self/mem"], "there", source=session)
        assert done.problems == ["/proc/self/mem: Input/output error"]

    @pytest.mark.parametrize("size", [copying.INLINE + 1, copying.ASK + 1])
    async def test_a_large_file_that_ends_early_is_a_line(
        self, size: int, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in /sys. Only root of another machine has one of this size, so the size is said wrong here."""
        Path("x/f").write_bytes(LARGE[:size])
        fstat = os.fstat

        def fstat_and_more(descriptor: int) -> os.stat_result:
            about = fstat(descriptor)
            if about.st_size != size:
                return about
            return os.stat_result((*about[:6], size + 100, *about[7:]), {"st_mtime_ns": about.st_mtime_ns})

        monkeypatch.setattr("examples.rexec.copy.walk.os.fstat", fstat_and_more)
        async with server() as session:
            done = await copy(["x/f", "x/sub/g"], "there", source=session)
        assert done.files == 1
        assert done.problems == [f"x/f: {WRONG_SIZE}"]


class TestDisks:
    """Disks that refuse something. The client that meets them is a process of its own."""

    @pytest.fixture
    def read_only(self, here: Path) -> Iterator[Path]:
        (disk := here / "disk").mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", disk], capture_output=True).returncode:
            pytest.skip("only root can mount")
        yield disk
        subprocess.run(["umount", disk], check=True)

    @leaving_nothing
    async def test_a_disk_that_is_read_only_ends_the_copy(self, read_only: Path) -> None:
        async with server() as session:
            for source in ("x", "x/f"):
                with pytest.raises(CopyError, match=rf"^disk/{source[-1]}: Read-only file system$"):
                    await copy([source], "disk", destination=session, recursive=True)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root of its own")
    def test_slash_is_a_source_and_a_target(self, here: Path) -> None:
        """In a root of its own."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        script = (
            "import os, sys, anyio; from examples.rexec.copy.client import copy; "
            "run = lambda *args: print(anyio.run(lambda: copy(*args, recursive=True))); run(['x/f'], 'there/y'); "
            "os.remove('there/y'); os.chroot('.'); os.chdir('/x'); "
            "run(['f'], '/'); run(['/x/.'], '/there'); run(['/'], '/all')"
        )
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert (done.stdout.count("problems=[]"), done.stderr) == (4, "")
        assert found("there") == INSIDE
        assert found("all")[:2] == ["f", "there"]
        assert Path("f").read_text() == "f"

    def refused(self, here: Path, refuse: Callable[[], None], *words: str) -> subprocess.CompletedProcess[str]:
        """``rexec cp -r`` from a server, while some system calls are refused here."""
        with serving(here) as running:
            keys = ["--identity", here / "client", "--peer", here / "server.pub"]
            *sources, target = words
            paths = [*(f"{running.address}:{here}/{one}" for one in sources), here / target]
            command = [*COMMAND, "cp", "-r", *keys, *paths]
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=refuse)

    @needs_refusing
    def test_one_that_keeps_no_modes_is_copied_to_with_a_word(self, here: Path) -> None:
        done = self.refused(here, refusing(*MODES), "x", "there")
        assert (done.returncode, done.stderr.splitlines()) == (
            0,
            [f"rexec: {here}/there/x/f: copied, but not its mode: Operation not permitted (and so with 3 more)"],
        )
        assert found(f"{here}/there") == X
        assert (here / "there/x/sub/g").read_text() == "g"

    @needs_refusing
    def test_one_that_keeps_neither_modes_nor_times_is_copied_to_with_two_words(self, here: Path) -> None:
        (here / "x/f").write_bytes(LARGE)
        done = self.refused(here, refusing(*MODES, "utimensat", error=errno.ENOSYS), "x/f", "there")
        line = f"rexec: {here}/there/f: copied, but not its {{}}: Function not implemented"
        assert (done.returncode, done.stderr.splitlines()) == (0, [line.format("time"), line.format("mode")])
        assert (here / "there/f").read_bytes() == LARGE

    @needs_refusing
    def test_one_without_locks_is_copied_to_and_nothing_stays_of_what_was_begun(self, here: Path) -> None:
        (here / "x/f").write_bytes(LARGE)
        done = self.refused(here, refusing("flock", error=errno.ENOLCK), "x", "there")
        assert (done.returncode, done.stderr) == (0, "")
        assert contents(here / "there/x") == contents(here / "x")
        part_of(here / "there/f").write_bytes(LARGE[:-1])
        done = self.refused(here, refusing("flock", error=errno.EOPNOTSUPP), "x/f", "there")
        assert (done.returncode, done.stderr) == (0, "")
        assert names(here / "there") == ["f", "x"]

    @needs_refusing
    def test_one_without_hard_links_is_copied_to(self, here: Path) -> None:
        done = self.refused(here, refusing(*LINKS), "x", "there")
        assert (done.returncode, done.stderr) == (0, "")
        assert found(f"{here}/there") == X


@leaving_nothing
def test_what_was_the_same_file_and_is_another_now_does_not_get_its_mode(tmp_path: Path) -> None:
    """In a folder like /tmp somebody could put one of ours in its place, by another name, for all to read."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").write_text("copied")
    (tmp_path / "key").write_text("secret")
    (tmp_path / "key").chmod(0o600)
    about = (tmp_path / "there" / "x").stat()
    with contextlib.closing(Target(Place(), os.fsencode(tmp_path / "there"), [b"x"])) as target:
        target.open()
        same = target.similar(b"x", about.st_size, about.st_mtime_ns)
        assert same is not None
        with same:
            target.keep(b"x", about.st_size, 0o640, about.st_mtime_ns)
            assert stat.S_IMODE((tmp_path / "there" / "x").stat().st_mode) == 0o640
            (tmp_path / "there" / "x").unlink()
            os.utime(tmp_path / "key", ns=(0, 0))
            os.link(tmp_path / "key", tmp_path / "there" / "x")
        with pytest.raises(CopyError, match="another file"):
            target.keep(b"x", about.st_size, 0o644, about.st_mtime_ns)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").stat().st_mtime == 0


@leaving_nothing
def test_copies_leave_descriptors_for_others(tmp_path: Path) -> None:
    """Four copies of a deep folder that nobody takes would let nobody else in where there may be 1,024."""
    (tmp_path / "inner").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = os.open(tmp_path, os.O_RDONLY)
    held = [folder]
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        with opened_in(folder, b"inner"):
            held.append(open_inner(folder, b"inner"))
        while held[-1] < 300:
            held.append(os.dup(folder))
        for _ in range(200):
            with pytest.raises(OSError, match="Too many open files"):
                open_inner(folder, b"inner")
            with pytest.raises(OSError, match="Too many open files"), opened_in(folder, b"inner"):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)
