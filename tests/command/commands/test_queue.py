"""``chanlink queue``: a queue as a process, and those who look after it."""

import json
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

import chanlink
from chanlink.patterns import QueueClient, queue_client
from tests.command.calls import (
    ANYWHERE,
    COMMAND,
    PATIENCE,
    ROOT,
    Call,
    Called,
    Keys,
    assert_one_line,
    environment,
    run,
    serving,
    start,
)
from tests.command.terminals import OnTerminal
from tests.postgres import USER, Server

pytestmark = pytest.mark.slow
QUEUE = [*COMMAND, "queue"]
"""Server puts keys behind the first word that it gets: that is of the action then."""

Queue = QueueClient[Any, Any]


def using(keys: Keys, address: str, function: Callable[[Queue], Awaitable[Any]], service: str = "jobs") -> Any:
    """Call a function with a client of the queue, in this process."""

    async def main() -> Any:
        identity = chanlink.Identity.load(keys.home / "client")
        key = chanlink.PublicKey.load(keys.home / "server.pub")
        with anyio.fail_after(PATIENCE):
            async with chanlink.connect(address, identity=identity, peer=key) as session:
                return await function(queue_client(session, service))

    return anyio.run(main)


def failing(count: int) -> Callable[[Queue], Awaitable[None]]:
    """Work on so many jobs: each fails with the code and text that it brings."""

    async def work(queue: Queue) -> None:
        left = count
        async with queue.jobs(slots=min(count, 100)) as work:
            async for job in work:
                async with job:
                    await job.fail(job.value["code"], job.value["text"])
                left -= 1
                if not left:
                    return

    return work


def submitting(*jobs: tuple[str, Any]) -> Callable[[Queue], Awaitable[None]]:
    async def submit(queue: Queue) -> None:
        for id, value in jobs:
            (await queue.submit(value, id=id)).close()

    return submit


@pytest.fixture(scope="module")
def queue(keys: Keys) -> Iterator[str]:
    """The address of a queue in memory."""
    with serving(keys, "serve", ANYWHERE, command=QUEUE) as server:
        server.said("the jobs are in memory, and gone when this process ends; --store FILE keeps them")
        yield server.address


Ask = Callable[..., str]


@pytest.fixture
def ask(keys: Keys, call: Call) -> Ask:
    """Call an action of the command, which a process of its own would not do otherwise; returns what it prints."""

    def ask(address: str, action: str, *words: Any, status: int = 0) -> str:
        done = call("queue", action, *keys.client, address, *words)
        assert done.status == status, done
        return done.out

    return ask


def in_a_thread(keys: Keys, *words: Any) -> Awaitable[str]:
    """The same by a process, while this one works on jobs."""

    def of_a_process() -> str:
        return run(keys.home, "queue", words[0], *keys.client, *words[1:])[0]

    return anyio.to_thread.run_sync(of_a_process)


# --- what is in a queue -------------------------------------------------------------------------


def test_status_says_how_many_jobs_are_where_and_who_works(keys: Keys) -> None:
    told: list[str] = []

    async def work(queue: Queue) -> None:
        await submitting(("page-1", None), ("page-2", None), ("page-3", None))(queue)
        async with queue.jobs(slots=2) as work, await anext(work) as first, await anext(work):
            for words in ([], ["--json"]):
                told.append(await in_a_thread(keys, "status", server.address, *words))
            await first.retry(after=1000)
            told.append(await in_a_thread(keys, "status", server.address))

    with serving(keys, "serve", ANYWHERE, command=QUEUE) as server:
        using(keys, server.address, work)
    counts, _, workers, head, row = told[0].splitlines()
    assert counts == "1 waiting, 0 delayed, 2 running, 0 done, 0 failed"
    assert workers == "1 workers with 2 slots, 1 submitters"
    assert head.split() == ["worker", "slots", "runs"]
    assert row.split() == ["client", "2", "of", "2", "page-1,", "page-2"]
    found = json.loads(told[1])
    assert found["workers"] == [{"name": "client", "slots": 2, "running": ["page-1", "page-2"]}]
    assert (found["waiting"], found["running"]) == (1, 2)
    assert told[2].startswith("1 waiting, 1 delayed, 1 running")


def test_a_status_that_is_watched_is_a_line_each_time_or_a_screen_with_a_bar(keys: Keys, queue: str) -> None:
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    words = ["queue", "status", "--watch", "-i", "0.05", *keys.client, queue]
    for more, says in (([], " a second"), (["--json"], '"waiting": ')):
        with start(keys, *words, *more, **pipes) as watching:
            try:
                lines = [watching.stdout.readline() for _ in range(3)]
                assert says in lines[-1]
                watching.send_signal(signal.SIGINT)
                assert watching.wait(PATIENCE) == -signal.SIGINT
                assert watching.stderr.read() == ""
            finally:
                watching.kill()
    screen = OnTerminal(keys.home, [*COMMAND, *words], columns=100)
    screen.until(b" a second", times=2)
    assert re.search(rb"\[#*\.*\]  [0-9]+ of [0-9]+, 0.0 a second", screen.shown)
    screen.type(b"q")
    screen.until(b"\x1b[?1049l")
    assert screen.modes == screen.before
    assert screen.end() == 0


def test_dead_lists_what_has_failed_and_no_escape_sequences_of_others(keys: Keys, ask: Ask, queue: str) -> None:
    jobs = [(f"page-{n}", {"code": "no-such-page", "text": f"it is \x1b[2J gone\n{n}"}) for n in (1, 2)]
    using(keys, queue, submitting(*jobs, ("not\x07nice", {"code": "other", "text": ""}), ("z", None)))
    using(keys, queue, failing(3))
    ask(queue, "cancel", "z")
    assert ask(queue, "dead").splitlines() == [
        "not\\x07nice\t1\tother\t",
        "page-1\t1\tno-such-page\tit is \\x1b[2J gone\\n1",
        "page-2\t1\tno-such-page\tit is \\x1b[2J gone\\n2",
    ]
    first, *_ = map(json.loads, ask(queue, "dead", "--json").splitlines())
    assert first == {"id": "not\x07nice", "code": "other", "text": "", "attempt": 1}


def test_dead_and_retry_go_through_all_pages(keys: Keys, ask: Ask) -> None:
    """A queue gives a thousand at a time."""
    count = 1_001
    jobs = [(f"job-{number:05}", {"code": "broken", "text": ""}) for number in range(count)]
    with serving(keys, "serve", ANYWHERE, command=QUEUE) as server:
        using(keys, server.address, submitting(*jobs))
        using(keys, server.address, failing(count))
        listed = [line.partition("\t")[0] for line in ask(server.address, "dead").splitlines()]
        assert listed == [id for id, _ in jobs]
        done = run(keys.home, "queue", "retry", "--all", *keys.client, server.address)
        assert done == ("", "1,001 jobs wait again\n")
        assert ask(server.address, "status").startswith("1,001 waiting, 0 delayed, 0 running, 0 done, 0 failed\n")
        assert ask(server.address, "dead") == ""


def test_what_became_of_each_job_is_said_and_an_unknown_one_is_status_1(keys: Keys, ask: Ask, queue: str) -> None:
    jobs = [(f"one-{number}", {"code": "broken", "text": ""}) for number in range(3)]
    using(keys, queue, submitting(*jobs))
    using(keys, queue, failing(1))
    assert ask(queue, "retry", "one-0", "none", "one-1", status=1).splitlines() == [
        "one-0\twaiting", "none\tunknown", "one-1\twaiting",
    ]  # fmt: skip
    assert ask(queue, "cancel", "one-0", "one-1", "one-2") == "".join(f"one-{n}\tcancelled\n" for n in range(3))
    told = ask(queue, "cancel", "--json", "none", "one-0", "one-0", status=1)
    unknown, cancelled = {"id": "none", "state": "unknown"}, {"id": "one-0", "state": "cancelled"}
    assert [json.loads(line) for line in told.splitlines()] == [unknown, cancelled, cancelled]
    assert not any(line.startswith("one-") for line in ask(queue, "dead").splitlines())
    for words in (["retry", *keys.client, queue], ["retry", "--all", *keys.client, queue, "one-0"]):
        assert_one_line(
            run(keys.home, "queue", *words, status=2), "give the ids of jobs, or --all", "queue retry --help"
        )


def test_names_in_the_place_of_addresses_work(keys: Keys, queue: str) -> None:
    hosts = keys.home / ".config" / "chanlink" / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    key = (keys.home / "server.pub").read_text().strip()
    hosts.write_text(f'[jobs]\naddress = "{queue}"\nkey = "{key}"\nidentity = "{keys.home}/client"\n')
    assert " waiting, " in run(keys.home, "queue", "status", "jobs")[0]


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "ids", "part"),
    [("status", [], "jobs.work"), ("dead", [], "jobs.submit"), ("retry", ["one"], "jobs.look"),
     ("cancel", ["one"], "jobs.look"), ("submit", ["1"], "jobs.work"), ("work", ["true"], "jobs.look")],
)  # fmt: skip
def test_whoever_may_not_or_asks_at_the_wrong_place_is_told_in_one_line(
    keys: Keys, call: Call, queue: str, action: str, ids: list[str], part: str
) -> None:
    words = ["queue", action, *keys.client]
    refused = call(*words, "--service", "other", queue, *ids)
    assert_one_line(without_note(refused), queue, "no service 'other'", "trust file")
    stranger = ["--identity", keys.home / "stranger", *keys.client[2:]]
    assert_one_line(call("queue", action, *stranger, queue, *ids), "does not trust our key")
    refused = call(*words, "--service", part, queue, *ids)
    assert_one_line(without_note(refused), f"'{part}' does not take that", "--service")


def without_note(done: Called) -> Called:
    """Without what a worker says before it asks for jobs."""
    note, _, rest = done.err.partition("\n")
    return done._replace(err=rest) if note.startswith("waits for jobs of ") else done


def test_a_trust_file_says_who_may_do_which_part(keys: Keys) -> None:
    (keys.home / "workers").write_text(f'services="jobs.work" {(keys.home / "client.pub").read_text()}')
    with serving(keys, "serve", ANYWHERE, "--trust", "workers", command=QUEUE) as server:
        using(keys, server.address, working_for_a_moment, "jobs.work")
        refused = run(keys.home, "queue", "status", *keys.client, server.address, status=1)
        assert_one_line(refused, "no service 'jobs'", "trust file")


async def working_for_a_moment(queue: Queue) -> None:
    async with queue.jobs() as work:
        with anyio.move_on_after(0.05):
            await anext(work)


def test_a_server_that_is_killed_is_one_line(keys: Keys) -> None:
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with serving(keys, "serve", ANYWHERE, command=QUEUE) as server:
        words = ["queue", "status", "--watch", "-i", "0.05", *keys.client, server.address]
        with start(keys, *words, **pipes) as watching:
            watching.stdout.readline()
            server.stop(signal.SIGKILL)
            out, err = watching.communicate(timeout=PATIENCE)
            assert watching.returncode == 1
            assert_one_line((out, err), server.address, "connection was lost")


NONSENSE = {
    "status": ['"nonsense"', '{"workers": 3}'],
    "dead": ['[{"id": "x"}]', '[{"id": "b", "code": "x", "text": "", "attempt": 1}] * 2'],
    "cancel one": ['"no state"'],
    "retry one": ["None"],
}
LYING = """
import anyio, chanlink
def queue(answer):
    async def serve(requests, peer):
        async for request in requests:
            async with request["answer"] as sender:
                await sender.send(answer)
    return serve
async def main():
    identity, trust = chanlink.Identity.load("server"), chanlink.Trust.load("trust")
    services = {name: queue(answer) for name, answer in ANSWERS.items()}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=trust, services=services) as listener:
        print(*listener.addresses, flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


def test_a_queue_that_answers_nonsense_is_one_line(keys: Keys, call: Call) -> None:
    cases = [(action, answer) for action, answers in NONSENSE.items() for answer in answers]
    answers = ", ".join(f'"{number}": {answer}' for number, (_, answer) in enumerate(cases))
    command = [sys.executable, "-c", LYING.replace("ANSWERS", f"{{{answers}}}")]
    pipes: Any = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=keys.home, env=environment(keys.home), **pipes) as server:
        try:
            address = server.stdout.readline().strip()
            for number, (action, _) in enumerate(cases):
                name, *ids = action.split()
                refused = call("queue", name, *keys.client, "--service", number, address, *ids)
                assert refused.status == 1
                assert_one_line(("", refused.err), address, "queue")
        finally:
            server.kill()


# --- the process that is a queue ----------------------------------------------------------------


def test_a_file_keeps_the_jobs_of_a_queue_that_is_killed(keys: Keys, ask: Ask) -> None:
    store = keys.home / "kept.db"
    with serving(keys, "serve", ANYWHERE, "--store", store, command=QUEUE) as server:
        server.said(f"the jobs are kept in {store}: 0 wait, 0 have failed")
        using(keys, server.address, submitting(("one", {"code": "broken", "text": ""}), ("two", None)))
        using(keys, server.address, failing(1))
        server.stop(signal.SIGKILL)
    with serving(keys, "serve", ANYWHERE, "--store", store, "--no-fsync", command=QUEUE) as server:
        server.said(f"the jobs are kept in {store}: 1 wait, 1 have failed")
        assert ask(server.address, "dead") == "one\t1\tbroken\t\n"
        second = run(keys.home, "queue", "serve", ANYWHERE, "--store", store, *keys.server, status=1)
        assert_one_line(second, str(store))
        assert ask(server.address, "status").startswith("1 waiting, ")  # it is not disturbed


def test_processes_that_have_one_database_are_one_queue(keys: Keys, ask: Ask, postgres: Server) -> None:
    name, uri = uuid4().hex, f"postgresql://{USER}@/postgres?host={postgres.folder}"
    words = ["serve", ANYWHERE, "--store", uri, "--queue", name]
    with serving(keys, *words, command=QUEUE) as one, serving(keys, *words, command=QUEUE) as two:
        one.said(f"the jobs are kept in queue {name} of a database: 0 wait, 0 have failed")
        using(keys, one.address, submitting(("page", {"code": "broken", "text": ""})))
        using(keys, two.address, failing(1))
        assert ask(one.address, "dead") == "page\t1\tbroken\t\n"
        assert one.stop(signal.SIGTERM) == 0


@pytest.mark.usefixtures("loop")
def test_a_queue_that_is_stopped_lets_jobs_end_that_run(keys: Keys, ask: Ask, tmp_path: Path) -> None:
    async def work(queue: Queue) -> None:
        await submitting(("one", None), ("two", None))(queue)
        async with queue.jobs(slots=2) as work, await anext(work) as job:
            server.process.send_signal(signal.SIGTERM)
            await anyio.to_thread.run_sync(server.said, "stopping: jobs that run may end, for 30 s; once more cuts")
            assert await job.done(None)
            assert [another.id async for another in work] == []  # none begins

    with serving(keys, "serve", ANYWHERE, "--store", tmp_path / "jobs.db", command=QUEUE) as server:
        using(keys, server.address, work)
        assert server.process.wait(PATIENCE) == 0
    with serving(keys, "serve", ANYWHERE, "--store", tmp_path / "jobs.db", command=QUEUE) as server:
        assert ask(server.address, "status").startswith("1 waiting, 0 delayed, 0 running, 1 done, 0 failed")


@pytest.mark.parametrize(("seconds", "again"), [(1000, True), (0.1, False)])
def test_a_second_signal_and_the_end_of_the_time_cut_short_what_runs(keys: Keys, seconds: float, again: bool) -> None:
    async def work(queue: Queue) -> None:
        await submitting(("one", None))(queue)
        async with queue.jobs() as work, await anext(work):
            server.process.send_signal(signal.SIGINT)
            await anyio.to_thread.run_sync(server.said, "stopping")
            if again:
                server.process.send_signal(signal.SIGINT)
            await anyio.sleep_forever()  # the block is cancelled: its way is lost

    with serving(keys, "serve", ANYWHERE, "--drain", seconds, command=QUEUE) as server:
        using(keys, server.address, work)
        assert server.process.wait(PATIENCE) == 0


def test_jobs_that_a_full_store_can_not_keep_are_refused_and_the_others_go_on(keys: Keys, ask: Ask) -> None:
    """As on a full disk: a file of this process can't be longer than a megabyte."""
    refused: list[str] = []

    async def fill(queue: Queue) -> None:
        for number in range(100):
            try:
                (await queue.submit(b"x" * 50_000, id=f"job-{number}")).close()
            except chanlink.JobRefused as exc:
                refused.append(exc.code)
                return

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    store = keys.home / "full.db"
    with serving(keys, "serve", ANYWHERE, "--store", store, command=QUEUE, preexec_fn=bound) as server:
        using(keys, server.address, fill)
        assert refused == ["store-failed"]
        assert re.search(r"^([1-9][0-9]?) waiting", ask(server.address, "status"))


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--store", "/nowhere/jobs.db"], 1, "/nowhere/jobs.db"),
        (["--store", "."], 1, "unable to open database file"),
        (["--queue", "pages"], 2, "give --store postgresql://"),
        (["--attempts", "0"], 2, "'0' is not a number from 1"),
        (["--silence", "0"], 2, "'0' is not a number above 0"),
        (["--trust", "missing"], 1, "chanlink peers add --trust missing KEY"),
    ],
)
def test_options_that_a_queue_can_not_have_are_one_line(
    keys: Keys, call: Call, words: list[str], status: int, says: str
) -> None:
    refused = call("queue", "serve", *keys.server, ANYWHERE, *words)
    assert refused.status == status
    assert_one_line(("", refused.err.splitlines(True)[-1]), says)


def test_help_of_each_action_has_examples_and_its_options_are_in_the_reference(call: Call) -> None:
    reference = (ROOT / "docs/reference/command.md").read_text()
    for action in ("serve", "submit", "work", "status", "dead", "retry", "cancel"):
        text = call("queue", action, "--help").out
        assert f"  chanlink queue {action} " in text.partition("examples:")[2]
        for option in re.findall(r"--[a-z-]+", text):
            assert option in reference, f"{action} {option}"
