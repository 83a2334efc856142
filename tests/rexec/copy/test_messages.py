"""What the two sides of a copy say to each other, and how that is checked."""

from typing import Any

import pytest

import chanlink
from examples.rexec.copy import messages as copying
from examples.rexec.messages import BadMessage
from tests.rexec.copy.trees import server


def test_the_service_has_the_name_that_trust_files_say() -> None:
    assert copying.SERVICE == "copy"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "change",
    [
        {"do": "eat"},
        {"paths": b"x"},
        {"paths": [3]},
        {"paths": [b"a\0b"]},
        {"names": [b"../x"]},
        {"names": []},
        {"entries": None},
        {"answers": 3},
        {"report": "x"},
    ],
)
async def test_a_request_of_a_wrong_shape_is_refused(change: dict[str, Any]) -> None:
    async with server() as session:
        requests = await session.open(copying.SERVICE)
        entries, _in = chanlink.pipe()
        _out, answers = chanlink.pipe()
        report, reports = chanlink.pipe()
        request = {"do": "send", "paths": [b"/etc/passwd"], "names": [b"x"]}
        ends = {"entries": entries, "answers": answers, "report": report}
        await requests.send({**request, **ends, **change})
        with pytest.raises(chanlink.ChannelRefused):
            await requests.flush()
            await requests.wait_closed()
            await requests.send({})
        reports.close()
        # And the next one is served.
        requests = await session.open(copying.SERVICE)
        report, reports = chanlink.pipe()
        entries, arriving = chanlink.pipe()
        _out, answers = chanlink.pipe()
        await requests.send({**request, "entries": entries, "answers": answers, "report": report})
        assert [list(entry) async for entry in arriving] == [["file", "mode", "mtime", "size", "data", "digest"]]


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b", b"x" * 256, "text", None])
def test_a_name_that_could_lead_elsewhere_is_none(name: Any) -> None:
    with pytest.raises(BadMessage):
        copying.check_name(name)


def test_a_path_is_shown_by_its_end() -> None:
    assert copying.shown(b"/a/\xff") == "/a/\N{REPLACEMENT CHARACTER}"
    assert copying.shown(b"x" * 10_000 + b"/end").startswith("...x")
    assert copying.shown(b"x" * 10_000 + b"/end").endswith("/end")
    assert copying.shown(3) == "int"


def test_of_an_error_of_the_system_its_words_are_the_reason() -> None:
    assert copying.why(b"/a", OSError(2, "No such file")) == "/a: No such file"
    assert copying.why(b"/a", "is a folder") == "/a: is a folder"
