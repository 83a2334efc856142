"""Requests of a peer that does its worst: what it is told, what is kept of it, and what stands in the audit."""

import gc
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgpack
import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.client import StartError, detach, kill, listing, run, start
from examples.rexec.policy.policy import Policy, Rule
from examples.rexec.server.audit import Audit
from examples.rexec.server.detached import Table
from examples.rexec.server.service import SERVICE, service
from examples.rexec.words import LINE_MAX, bytes_of
from tests.rexec.servers import PATIENCE
from tests.rexec.sessions import read_line, sessions

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
RESTRICTED = Policy([Rule("test", ("*",), commands=(("cat",), ("echo", "**a**b")), directories=("/usr/*",))])
LONG = b"\xff\x1b" * (200 * 1024)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestRefused:
    @pytest.mark.parametrize(
        ("argv", "settings", "part"),
        [
            ([b"rm", LONG], {}, "does not allow this command: rm"),
            ([b"rm", *[b"\xff"] * 50_000], {}, "does not allow this command: rm"),
            ([LONG], {}, "does not allow this command: "),
            ([b"echo", b"a" * len(LONG)], {}, "does not allow this command: echo"),
            ([b"cat"], {"environment": {LONG: b"x"}}, "does not allow to set "),
            ([b"cat"], {"environment": {b"\xff": b"x"}}, "does not allow to set "),
            ([b"cat"], {"directory": LONG}, "does not allow the folder "),
            ([b"cat"], {"directory": b"/\xff"}, "does not allow the folder "),
            ([b"cat"], {"user": "\u00fc" * 100}, "does not allow the user "),
        ],
        ids=range(9),
    )
    async def test_it_is_told_in_a_line_and_written_down_in_a_short_one(
        self, tmp_path: Path, argv: list[bytes], settings: dict[str, Any], part: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "audit"
        async with sessions(policy=RESTRICTED, audit=Audit(str(path))) as session:
            with pytest.raises(StartError) as caught:
                await run(session, argv, **settings)
            assert (caught.value.code, part in caught.value.text) == (messages.REFUSED, True), caught.value.text
            assert len(caught.value.text) <= LINE_MAX
            assert caught.value.text.isprintable()
            assert (await run(session, [b"cat"])).status == 0
        refused, *_ = lines(path)
        assert (refused["event"], refused["words"]) == ("refused", len(argv))
        assert len(path.read_bytes().splitlines()[0]) < 40_000
        assert not [record for record in caplog.records if record.exc_info]
        assert all(record.getMessage().isprintable() for record in caplog.records)

    async def test_what_runs_is_written_down_whole(self, tmp_path: Path) -> None:
        words = [b"echo", b"\xff" * 1_000, *[b"x"] * 5_000]
        async with sessions(audit=Audit(str(tmp_path / "audit"))) as session:
            assert (await run(session, words)).stdout == b" ".join(words[1:]) + b"\n"
        began, ended = lines(tmp_path / "audit")
        assert [bytes_of(word) for word in began["command"]] == words
        assert (ended["event"], ended["status"]) == ("end", 0)


class TestKept:
    async def test_what_a_request_holds_beside_it_is_let_go_at_once(self) -> None:
        """The command goes on while we look."""
        marker = "beside the request"
        async with sessions() as session, await session.open(SERVICE) as requests:
            ours, theirs = chanlink.byte_pipe()
            errors, their_errors = chanlink.byte_pipe()
            status, replies = chanlink.pipe()
            beside, their_beside = chanlink.pipe()
            deep, their_deep = chanlink.byte_pipe()
            message: dict[str, Any] = {
                "request": "run", "command": "sh", "args": ["-c", "echo; cat"], "stdio": theirs, "stderr": their_errors,
                "status": status, "beside": [marker, {"ends": [their_beside, {"deep": their_deep}]}],
            }  # fmt: skip
            async with ours, errors, replies, beside, deep:
                await requests.send(message)
                del message
                assert await read_line(ours) == b"\n"
                with anyio.fail_after(PATIENCE):
                    await beside.wait_closed()
                    with suppress(chanlink.EndOfChannel):
                        await deep.receive()
                gc.collect()
                held = [entry for entry in gc.get_objects() if isinstance(entry, list) and entry[:1] == [marker]]
                assert held == []
                await ours.send_eof()
                assert await replies.receive() == {"exit": 0}

    @pytest.mark.parametrize("detached", [False, True])
    async def test_the_words_of_a_command_are_let_go_when_it_runs(self, detached: bool) -> None:
        word = "a word of a command"
        argv = ["sh", "-c", "echo; exec sleep 1000", word]
        async with sessions() as session, start(session, ["cat"]) as other:
            if detached:
                await detach(session, argv, "job", environment={"MARKER": word})
            else:
                command = await self.enter(session, argv, word)
            gc.collect()
            found = [entry for entry in gc.get_objects() if isinstance(entry, messages.Run)]
            assert len(found) == 2
            await other.stdio.send_eof()
            assert [(run.argv, run.environment) for run in found if word.encode() in repr(run).encode()] == []
            if detached:
                await kill(session, "job")
            else:
                await command.__aexit__(None, None, None)

    async def enter(self, session: chanlink.Session, argv: list[str], word: str) -> Any:
        manager = start(session, argv, environment={"MARKER": word})
        assert await read_line((await manager.__aenter__()).stdio) == b"\n"
        return manager


async def test_a_list_of_a_thousand_commands_is_a_message() -> None:
    table, wide = Table(), "\N{GRINNING FACE}"
    for number in range(1_000):
        table.add("owner", f"{number}{wide * 90}", wide * LINE_MAX)
    assert len(msgpack.packb({"commands": table.rows_of("owner")})) < messages.LIMITS.message_size
    few = Table()
    few.add("owner", "name", "x" * LINE_MAX)
    assert [row[1] for row in few.rows_of("owner")] == ["x" * LINE_MAX]


async def test_an_answer_that_is_too_long_for_the_caller_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    us, them = chanlink.Identity.generate("us"), chanlink.Identity.generate("them")
    async with (
        service() as rexec,
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=them, trust=chanlink.Trust.of(us.public_key), services={SERVICE: rexec}
        ) as listener,
        chanlink.connect(
            listener.addresses[0], identity=us, peer=them.public_key, limits=chanlink.Limits(message_size=4_096)
        ) as session,
    ):
        for _ in range(10):
            await detach(session, ["true", "x" * 900])
        with pytest.raises(StartError) as caught:
            await listing(session)
        assert caught.value.code == messages.TOO_LONG
