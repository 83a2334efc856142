"""``chanlink graph`` with real programs that wait for each other, each on another event loop."""

import json
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command.calls import COMMAND, Call, Keys, environment, run, serving
from tests.command.commands.waiting_programs import Program, known, ring
from tests.ports import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[dict[str, Program]]:
    with ring(tmp_path) as started:
        yield started


def needs_graphviz() -> None:
    if shutil.which("dot") is None:
        pytest.skip("graphviz is not installed")


def test_a_deadlock_through_a_relay(tmp_path: Path, programs: dict[str, Program]) -> None:
    words = known(tmp_path, programs)
    for name in ("a", "b"):
        programs[name].say("send")
    out, _ = run(tmp_path, "graph", *words, status=1)
    for name in ("a", "b"):
        assert f"exchange of {programs[name].address} (commands/waiting_program.py:" in out
    found = json.loads(run(tmp_path, "graph", "--json", *words, status=1)[0])
    assert [len(circle) for circle in found["circles"]] == [2]
    assert [edge["label"] for edge in found["edges"] if "relay" in edge["label"]] == [f"relay {programs['c'].address}"]
    programs["c"].process.kill()
    out, _ = run(tmp_path, "graph", *words, status=2)
    assert f"{programs['c'].address}: Connection refused" in out
    assert "deadlock:" not in out  # whoever was not asked may be about to end it


def test_who_is_slow_is_in_no_deadlock(tmp_path: Path, programs: dict[str, Program]) -> None:
    programs["b"].say("slow")
    programs["a"].say("send")
    found = json.loads(run(tmp_path, "graph", "--json", *known(tmp_path, programs))[0])
    assert found["circles"] == []
    assert [edge["label"] for edge in found["edges"] if edge["label"] == "sends"] == ["sends"]


def test_a_page_that_is_served_on_loopback(keys: Keys) -> None:
    needs_graphviz()
    with serving(keys, "bench", "--listen", "tcp://127.0.0.1:0", "--inspect") as server:
        run(keys.home, "graph", "-o", "x.svg", *keys.client, server.address)
        assert ET.parse(keys.home / "x.svg").getroot().tag.endswith("svg")
        words = [*COMMAND, "graph", "--serve", "0", *keys.client, server.address]
        with subprocess.Popen(
            words, cwd=keys.home, env=environment(keys.home), stderr=subprocess.PIPE, text=True
        ) as page:
            assert page.stderr is not None
            address = page.stderr.readline().removeprefix("serving ").strip()
            with urllib.request.urlopen(address) as answer:
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                text = answer.read().decode()
            assert "no deadlock" in text
            assert server.address in text
            page.send_signal(signal.SIGINT)
            assert page.wait() == 0


def test_a_server_that_nobody_listens_at_and_one_that_tells_nothing(keys: Keys) -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    with serving(keys, "bench", "--listen", "tcp://127.0.0.1:0") as server:
        out, _ = run(keys.home, "graph", *keys.client, nobody, server.address, status=2)
        assert f"{nobody}: Connection refused" in out
        assert f"{server.address}: the server has no service 'chanlink.top'" in out


def test_without_graphviz_one_line_says_so(keys: Keys) -> None:
    with serving(keys, "bench", "--listen", "tcp://127.0.0.1:0", "--inspect") as server:
        _, err = run(keys.home, "graph", "-o", "x.svg", *keys.client, server.address, status=1, PATH="/nowhere")
        assert err == "chanlink: drawing needs the program dot: install graphviz; --dot and --json work without\n"


@pytest.mark.parametrize(("words", "status"), [(["nonsense"], 1), ([], 2), (["--serve", "70000", "tcp://a"], 2)])
def test_wrong_arguments(call: Call, words: list[str], status: int) -> None:
    assert call("graph", *words).status == status
