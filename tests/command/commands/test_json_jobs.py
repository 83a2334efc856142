"""``chanlink queue submit`` and ``work``: jobs as JSON, by processes that are not written in Python."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.command.calls import (
    ANYWHERE,
    COMMAND,
    PATIENCE,
    Keys,
    assert_one_line,
    run,
    serving,
    start,
)
from tests.ports import free_port
from tests.rexec.servers import until

pytestmark = pytest.mark.slow
QUEUE = [*COMMAND, "queue"]


@pytest.fixture
def queue(keys: Keys) -> Iterator[str]:
    with serving(keys, "serve", ANYWHERE, "--silence", "2", command=QUEUE) as server:
        yield server.address


@contextmanager
def working(keys: Keys, address: str, script: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that runs a script of a shell."""
    words = "queue", "work", *keys.client, *words, address, "--", "sh", "-c", script
    worker = start(keys, *words, stderr=subprocess.PIPE)
    try:
        yield worker
    finally:
        worker.kill()
        with worker:
            worker.wait(PATIENCE)


def submit(keys: Keys, address: str, job: str, *words: Any, status: int = 0, input: bytes = b"") -> tuple[str, str]:
    return run(keys.home, "queue", "submit", *keys.client, address, *words, job, status=status, input=input)


def outcomes(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


@pytest.mark.usefixtures("loop")
def test_jobs_are_brought_and_commands_work_on_them(keys: Keys, queue: str) -> None:
    script = 'read -r job; echo 0.5; sleep 0.1; test $job = 13 && echo no good && exit 65; echo "{\\"n\\": $job}"'
    with working(keys, queue, script, "--slots", "3"):
        out, err = submit(keys, queue, "1", "--result", "--id", "one")
        assert outcomes(out) == [{"id": "one", "result": {"n": 1}}]
        assert "0.5\n" in err
        lines = b"".join(b"%d\n\n" % number for number in range(10, 15))
        out, err = submit(keys, queue, "-", "--result", input=lines, status=1)
        found = outcomes(out)
        assert sorted(one["result"]["n"] for one in found if "result" in one) == [10, 11, 12, 14]
        (failed,) = [one for one in found if "failed" in one]
        assert {**failed, "id": ""} == {"id": "", "failed": "exit-65", "text": "no good", "attempt": 1}
        assert err == ""
        assert outcomes(submit(keys, queue, "7", "--result", "--id", "one")[0])[0]["result"] == {"n": 1}  # it stands


def test_an_id_is_printed_when_the_job_is_stored_and_names_one_job(keys: Keys, queue: str) -> None:
    assert submit(keys, queue, '"x"', "--id", "a\tb") == ("a\\tb\n", "")
    assert outcomes(submit(keys, queue, '"x"', "--id", "a\tb", "--json")[0]) == [{"id": "a\tb", "new": False}]
    assert outcomes(submit(keys, queue, "3", "--json")[0])[0]["new"] is True
    ids = submit(keys, queue, "-", input=b"".join(b"%d\n" % number for number in range(1_000)))[0].split()
    assert len(set(ids)) == 1_000
    status = run(keys.home, "queue", "status", *keys.client, queue)[0]
    assert status.startswith("1,002 waiting, ")


def test_a_line_that_is_no_json_is_said_and_those_before_it_are_brought(keys: Keys, queue: str) -> None:
    out, err = submit(keys, queue, "-", input=b"1\n\n2\nthree\n4\n", status=1)
    assert len(out.split()) == 2
    assert_one_line(("", err), "line 4 is no JSON", "a text has quotes around it")
    assert_one_line(submit(keys, queue, "three", status=1), "the job is no JSON")
    assert_one_line(submit(keys, queue, "[" * 100_000, status=1), "the job is no JSON")
    assert_one_line(submit(keys, queue, "10000000000000000000000", status=1), "out of range")
    assert_one_line(submit(keys, queue, "-", "--id", "x", status=2), "--id is that of one job", "queue submit --help")
    assert_one_line(submit(keys, queue, "1", "--id", "x" * 201, status=2), "has 1 to 200 characters")


def test_another_attempt_begins_after_a_failure_and_the_last_one_is_told(keys: Keys) -> None:
    with (
        serving(keys, "serve", ANYWHERE, "--attempts", "2", command=QUEUE) as server,
        working(keys, server.address, 'read -r job; echo try $CHANLINK_JOB_ATTEMPT; exit "$job"') as worker,
    ):
        (failed,) = outcomes(submit(keys, server.address, "3", "--result", "--id", "x", status=1)[0])
        assert (failed["failed"], failed["attempt"]) == ("attempts-used-up", 2)
        assert "exit-3: try 2" in failed["text"]
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
        assert worker.stderr is not None
        assert worker.stderr.read().decode().splitlines()[1:3] == ["x: exit-3 at attempt 1", "x: exit-3 at attempt 2"]


@pytest.mark.parametrize("again", [False, True])
def test_a_worker_that_is_stopped_lets_its_job_end_and_a_second_signal_kills_it(
    keys: Keys, queue: str, again: bool, tmp_path: Path
) -> None:
    submit(keys, queue, "1", "--id", "one")
    submit(keys, queue, "1", "--id", "two")
    script = f"touch {tmp_path}/begun; until test -e {tmp_path}/go; do sleep 0.01; done"
    with working(keys, queue, script) as worker:
        until(lambda: (tmp_path / "begun").exists() or worker.poll() is not None)
        worker.send_signal(signal.SIGTERM)
        assert worker.stderr is not None
        assert worker.stderr.readline() == b"waits for jobs of jobs\n"
        assert worker.stderr.readline() == b"stopping: jobs that run may end; once more cuts that short\n"
        if again:
            worker.send_signal(signal.SIGTERM)
        else:
            (tmp_path / "go").touch()
        assert worker.wait(PATIENCE) == 0
    ended = "2 waiting, 0 delayed, 0 running, 0 done" if again else "1 waiting, 0 delayed, 0 running, 1 done"
    assert run(keys.home, "queue", "status", *keys.client, queue)[0].startswith(ended)


def test_a_worker_goes_on_with_the_next_process_of_a_queue_that_was_killed(keys: Keys, tmp_path: Path) -> None:
    address, store = f"tcp://127.0.0.1:{free_port()}", tmp_path / "jobs.db"
    script = (
        f'echo "$CHANLINK_JOB_ATTEMPT" >> {tmp_path}/begun; until test -e {tmp_path}/go; do sleep 0.01; done; echo 7'
    )
    with serving(keys, "serve", address, "--store", store, command=QUEUE) as server:
        submit(keys, address, "1", "--id", "one")
        with working(keys, address, script):
            until((tmp_path / "begun").exists)
            server.stop(signal.SIGKILL)
            with serving(keys, "serve", address, "--store", store, command=QUEUE):
                until(lambda: (tmp_path / "begun").read_text().split() == ["1", "2"])
                (tmp_path / "go").touch()
                assert outcomes(submit(keys, address, "1", "--id", "one", "--result")[0])[0]["result"] == 7


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--slots", "0"], 2, "'0' is not a number from 1"),
        (["--slots", "10001"], 2, "--slots is at most 10000"),
    ],
)
def test_slots_that_a_worker_can_not_have_are_wrong(keys: Keys, words: list[str], status: int, says: str) -> None:
    assert_one_line(run(keys.home, "queue", "work", *words, "tcp://a", "--", "true", status=status), says)


def test_a_command_that_is_not_there_is_said_before_a_job_is_taken(keys: Keys, queue: str) -> None:
    refused = run(keys.home, "queue", "work", *keys.client, queue, "--", "no-such-command", status=1)
    assert_one_line(refused, "no-such-command: no such command")
    assert_one_line(run(keys.home, "queue", "work", *keys.client, queue, status=2), "COMMAND")
