"""What the audit says of copies: each that begins ends there, however that comes about."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from examples.rexec.copy import messages as copying
from examples.rexec.copy.service import copy_service
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
LARGE = 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("sends", "how"),
    [
        (True, "answers"),
        (False, "entries"),
        (False, "report"),
        (True, "session"),
        (False, "session"),
        (True, "all"),
        (False, "all"),
    ],
)
async def test_however_a_copy_ends_it_is_written_down(tmp_path: Path, sends: bool, how: str) -> None:
    """One side stands still, and the other leaves in some way, in order or not."""
    (tmp_path / "file").write_bytes(bytes(LARGE))
    noted: list[dict[str, Any]] = []
    us, them = chanlink.Identity.generate("us"), chanlink.Identity.generate("them")
    entries, their_entries = chanlink.pipe() if not sends else chanlink.pipe()[::-1]
    answers, their_answers = chanlink.pipe()[::-1] if not sends else chanlink.pipe()
    report, reports = chanlink.pipe()
    message: dict[str, Any] = {
        "do": "send" if sends else "receive", "paths": [os.fsencode(tmp_path / "file")], "names": [b"file"],
        "path": os.fsencode(tmp_path / "copy"), "recursive": False, "total": False,
        "entries": their_entries, "answers": their_answers, "report": report,
    }  # fmt: skip
    async with (
        chanlink.listen(
            "tcp://127.0.0.1:0",
            identity=them,
            trust=chanlink.Trust.of(us.public_key),
            services={copying.SERVICE: copy_service(write=noted.append)},
        ) as listener,
        chanlink.connect(listener.addresses[0], identity=us, peer=them.public_key) as session,
        await session.open(copying.SERVICE) as requests,
        entries,
        answers,
        reports,
    ):
        await requests.send(message)
        with anyio.fail_after(PATIENCE):
            if sends:
                await entries.receive()  # it waits for our answer now
            else:
                while not noted:
                    await anyio.sleep(0)
            match how:
                case "answers":
                    answers.close()
                case "entries":
                    entries.close()
                case "report":
                    reports.close()
                    entries.close()
                case "session":
                    await session.aclose()
            if how != "all":
                while len(noted) < 2:
                    await anyio.sleep(0.001)
    with suppress(chanlink.ChanlinkError):
        report.close()
    assert [entry["event"] for entry in noted] == ["copy-start", "copy-end"]
