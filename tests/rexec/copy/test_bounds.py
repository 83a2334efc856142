"""The copy service of examples/rexec against peers that want too much of it: threads, copies, memory."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import chanlink
from examples.rexec.copy import client as copying_client
from examples.rexec.copy import messages as copying
from examples.rexec.copy import service as copying_service
from examples.rexec.copy.client import Progress, copy
from examples.rexec.copy.messages import CopyError
from examples.rexec.copy.rules import may_copy
from examples.rexec.copy.service import copy_service
from examples.rexec.messages import ends_in
from examples.rexec.policy.policy import Policy, Rule
from examples.rexec.words import LINE_MAX
from tests.busy import no_thread_is_free
from tests.leaks import Leaks
from tests.patience import PATIENCE, until
from tests.rexec.copy.trees import LARGE, MIB, server, way

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

ENDLESS = 2**42
"""A file of this many bytes, which takes no room, is hashed for an hour."""


class Asker:
    """Asks a server to send one file, and has its ends."""

    def __init__(self) -> None:
        self.entries: chanlink.Receiver[Any]
        self.answers: chanlink.Sender[Any]
        self.reports: chanlink.Receiver[Any]

    async def ask(self, requests: chanlink.Sender[Any], file: Path, /, **more: Any) -> None:
        entries, self.entries = chanlink.pipe()
        self.answers, answers = chanlink.pipe()
        report, self.reports = chanlink.pipe()
        ends = {"entries": entries, "answers": answers, "report": report}
        await requests.send({"do": "send", "paths": [os.fsencode(file)], "names": [b"x"], **ends, **more})

    def close(self) -> None:
        self.entries.close()
        self.answers.close()
        self.reports.close()


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    (path := tmp_path / "endless").touch()
    os.truncate(path, ENDLESS)
    return path


@asynccontextmanager
async def asking(service: Any, count: int, path: Path) -> AsyncIterator[tuple[list[Asker], list[str]]]:
    """So many copies that are asked for on one session; those that are made, and what was said about the others."""
    askers = [Asker() for _ in range(count)]
    made, refused = [], []
    async with server(service) as session:
        requests = await session.open(copying.SERVICE)
        for asker in askers:
            await asker.ask(requests, path)
        for asker in askers:
            try:
                await asker.entries.receive()
            except chanlink.ChannelFailed:
                refused.append((await asker.reports.receive())["failed"])
            else:
                made.append(asker)
                await asker.answers.send({"have": ENDLESS, "digest": bytes(32)})
        for asker in made:
            assert "at" in await asker.reports.receive()  # it hashes
        yield made, refused


class TestThreads:
    async def test_who_has_endless_files_hashed_and_leaves_keeps_no_thread(
        self, endless: Path, no_leaks: Leaks
    ) -> None:
        service = copy_service()
        no_leaks.watch("peers that copy", lambda: len(service.__self__._peers))  # type: ignore[attr-defined]
        async with asking(service, 40, endless) as (made, refused):
            assert (len(made), len(refused)) == (copying_service.AT_ONCE, 40 - copying_service.AT_ONCE)
            assert set(refused) == {
                "the server makes 16 copies at once for each key; try again when one of yours is done"
            }
            # What has to work while they are at it has its own threads.
            everybodys = anyio.to_thread.current_default_thread_limiter()
            assert everybodys.borrowed_tokens == 0
            assert await anyio.to_thread.run_sync(lambda: "done") == "done"

    async def test_who_leaves_a_copy_and_not_the_session_has_room_for_others(self, endless: Path) -> None:
        service = copy_service()
        async with asking(service, copying_service.AT_ONCE, endless) as (made, _):
            for asker in made:
                asker.close()
            await until(lambda: not service.__self__._peers)  # type: ignore[attr-defined]

    @pytest.mark.parametrize("name", ["there", "back"])
    async def test_copies_go_on_when_the_threads_of_everybody_are_busy(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "large").write_bytes(LARGE)
        async with no_thread_is_free(), way(name) as sides:
            done = await copy([tmp_path / "tree"], tmp_path / "copy", recursive=True, **sides)
        assert (done.files, done.problems) == (1, [])

    async def test_a_receiver_that_hashes_is_cancelled_between_two_pieces(self, endless: Path, tmp_path: Path) -> None:
        os.link(endless, tmp_path / "copy")  # the same size and time: it may be the same file
        async with server() as session:
            with anyio.CancelScope() as life:

                def watch(progress: Progress) -> None:
                    life.cancel()

                await copy([endless], tmp_path / "copy", destination=session, watch=watch)
            assert life.cancelled_caught


class TestAtOnce:
    async def test_a_policy_bounds_copies_too(self, endless: Path) -> None:
        service = copy_service(refusal=may_copy(Policy([Rule("few", ("*",), at_once=2)])))
        async with asking(service, 3, endless) as (made, refused):
            assert len(made) == 2
            assert refused == ["the rule few of the server's policy allows 2 at once"]

    async def test_keys_are_counted_each_by_itself(self, endless: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        service = copy_service()
        async with asking(service, 17, endless) as (_, refused), server(service) as another:
            assert len(refused) == 1
            assert (await copy([tmp_path / "file"], tmp_path / "copy", source=another)).files == 1


def lying(*words: Any) -> Any:
    """A service that takes any request and reports this."""

    async def serve(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        message = await requests.receive()
        with suppress(chanlink.ChannelBroken):
            for word in words:
                await message["report"].send(word)
            await message["report"].wait_closed()
        for end in ends_in(message):
            end.close()

    return serve


class TestMemory:
    """However much the other side says, this side keeps little."""

    async def test_what_a_server_says_is_kept_up_to_a_bound(self, tmp_path: Path) -> None:
        text, many = (
            "x" * MIB,
            [{kind: "y"} for kind in ("problem", "note") for _ in range(copying_client.LINES_MAX + 50)],
        )
        words = [{"problem": text}, {"note": text}, *many, {"done": [0, 0, 0]}]
        async with server(lying(*words)) as session, server() as other:
            done = await copy(["x"], tmp_path / "x", source=session, destination=other)
        for lines in (done.problems, done.notes):
            assert len(lines) == copying_client.LINES_MAX + 1
            assert sum(map(len, lines)) < 2 * LINE_MAX + copying_client.LINES_MAX

    async def test_a_last_word_and_a_name_are_kept_up_to_a_bound(self, tmp_path: Path) -> None:
        seen: list[Progress] = []
        words = [{"at": [1, 1, 0], "name": b"n" * MIB}, {"failed": "f" * MIB}]
        async with server(lying(*words)) as session:
            with pytest.raises(CopyError) as caught:
                await copy(["x"], tmp_path / "x", source=session, watch=seen.append)
        assert len(str(caught.value)) <= LINE_MAX
        assert len(seen[-1].name) <= LINE_MAX

    @pytest.mark.parametrize("number", [-1, 2**63, True, 1.5, None, "1", [1]])
    async def test_numbers_that_no_side_would_say_end_the_copy(self, number: Any, tmp_path: Path) -> None:
        for word in ({"done": [number, 0, 0]}, {"at": [0, 0, number], "name": b""}, {"total": [1, number]}):
            async with server(lying(word)) as session:
                with pytest.raises(CopyError, match=r"^build: .* can't be understood"):
                    await copy(["x"], tmp_path / "x", source=session, labels=("build: ", ""))

    @pytest.mark.parametrize(
        "change",
        [
            {"paths": [b"x"] * (copying.PATHS_MAX + 1), "names": [b"x"] * (copying.PATHS_MAX + 1)},
            {"paths": [b"x" * (copying.PATH_MAX + 1)]},
            {"do": "receive", "path": b"x" * (copying.PATH_MAX + 1)},
        ],
    )
    async def test_a_request_that_is_too_long_is_refused(self, change: dict[str, Any], tmp_path: Path) -> None:
        async with server() as session:
            requests = await session.open(copying.SERVICE)
            await (asker := Asker()).ask(requests, tmp_path / "x", **change)
            with pytest.raises(chanlink.ChannelRefused):
                await requests.flush()
                await requests.wait_closed()
                await requests.send({})
            asker.close()

    async def test_too_many_sources_are_said_before_anything_is_asked(self) -> None:
        with pytest.raises(CopyError, match="copy the folder that they are in"):
            await copy([b"x"] * (copying.PATHS_MAX + 1), "y")

    async def test_the_audit_names_a_hundred_paths_and_counts_the_others(self, tmp_path: Path) -> None:
        written: list[dict[str, Any]] = []
        paths = [tmp_path / f"{number}" for number in range(150)]
        async with server(copy_service(write=written.append)) as session:
            done = await copy(paths, tmp_path, source=session)
        assert len(done.problems) == 150
        assert [entry["event"] for entry in written] == ["copy-start", "copy-end"]
        for entry in written:
            assert len(entry["reads"]) == 101
            assert entry["reads"][-1] == "... and 50 more"

    async def test_what_is_sent_beside_a_request_is_not_kept(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        ours, theirs = chanlink.pipe()
        async with server() as session:
            requests = await session.open(copying.SERVICE)
            await (asker := Asker()).ask(requests, tmp_path / "file", beside=[theirs])
            with anyio.fail_after(PATIENCE):
                await ours.wait_closed()
            assert (await asker.entries.receive())["data"] == b"x"
            asker.close()
