"""The sender of a copy, also with a receiver that does its worst."""

import os
from pathlib import Path
from typing import Any

import pytest

import chanlink
from examples.rexec.copy import messages as copying
from tests.rexec.copy.trees import LARGE, server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


class TestAnswers:
    """A receiver that does not keep to what it has to say."""

    @pytest.mark.parametrize("answer", [3, {}, {"have": -1}, {"have": 5, "digest": 3}, {"have": 2**63, "digest": b""}])
    async def test_an_answer_that_no_receiver_would_give_ends_the_copy(self, answer: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(LARGE)
        async with server() as session:
            requests = await session.open(copying.SERVICE)
            entries, arriving = chanlink.pipe()
            answering, answers = chanlink.pipe()
            report, reports = chanlink.pipe()
            ends = {"entries": entries, "answers": answers, "report": report}
            await requests.send({"do": "send", "paths": [os.fsencode(tmp_path / "file")], "names": [b"x"], **ends})
            await arriving.receive()
            await answering.send(answer)
            assert "failed" in await reports.receive()
            with pytest.raises(chanlink.ChannelFailed):
                await arriving.receive()

    async def test_who_has_less_than_it_says_gets_the_whole_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(LARGE)
        async with server() as session:
            requests = await session.open(copying.SERVICE)
            entries, arriving = chanlink.pipe()
            answering, answers = chanlink.pipe()
            report, _reports = chanlink.pipe()
            ends = {"entries": entries, "answers": answers, "report": report}
            await requests.send({"do": "send", "paths": [os.fsencode(tmp_path / "file")], "names": [b"x"], **ends})
            await arriving.receive()
            await answering.send({"have": len(LARGE) + 1, "digest": bytes(32)})
            assert (await arriving.receive())["from"] == 0
