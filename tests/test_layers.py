"""The shape of the code: who imports whom, who does I/O, and who writes into whom."""

import ast
import importlib
from collections.abc import Collection
from functools import cache
from pathlib import Path

import chanlink
from tests.project.clocks import verdicts
from tests.project.shape import asked_for, attribute_of, attributes_in, attributes_of, foreign_writes, imports

ROOT = Path(chanlink.__file__).parent
EXAMPLES = ROOT.parent / "examples"
TESTS = Path(__file__).parent

# --- rooms --------------------------------------------------------------------------------------

GROUND = {
    "arguments",
    "backoff",
    "bytes_like",
    "clock",
    "errors",
    "features",
    "forks",
    "instrument",
    "limits",
    "printing",
    "tasks",
}
"""Files that all rooms stand on; among them each may import any other, as long as there is no circle."""
ROOMS: dict[str, set[str]] = {
    "transport": GROUND,
    "channels.values": GROUND,
    "channels": GROUND | {"channels.values"},
    "security.noise": GROUND,
    "security.keys": GROUND | {"transport", "security.noise"},
    "security.payloads": GROUND,
    "security.early": GROUND | {"security.noise", "security.keys", "security.payloads"},
    "security.resuming.proofs": GROUND | {"security.keys"},
    "security.resuming.agreement": GROUND | {"security.resuming.proofs"},
    "security": GROUND
    | {"transport", "security.noise", "security.keys", "security.payloads", "security.early"}
    | {"security.resuming.proofs", "security.resuming.agreement"},
    "security.resuming": GROUND | {"transport", "security"},
    "security.tls": GROUND | {"transport", "security"},
    "wire.messages": GROUND | {"channels.values"},
    "wire.opening": GROUND | {"channels.values"},
    "wire.h2": GROUND | {"wire.messages", "wire.opening"},
    "wire": GROUND | {"channels.values", "wire.messages", "wire.opening", "wire.h2"},
    "session.ends": GROUND | {"channels", "wire"},
    "handover": GROUND | {"transport", "security"},
    "session": GROUND | {"transport", "channels", "security", "wire", "session.ends", "handover"},
    "gateways": GROUND | {"transport", "channels", "security", "session"},
    "patterns": GROUND | {"channels", "wire", "session"},
    "calls": GROUND | {"channels", "session"},
    "links": GROUND | {"transport", "channels", "security", "handover", "session", "calls"},
    "observing.graph": GROUND,
    "observing": GROUND | {"channels", "wire", "session", "session.ends", "patterns", "calls", "links"},
    "directory.problems": GROUND,
    "directory.entries": GROUND | {"transport", "security", "directory.problems"},
    "directory.interface": GROUND | {"calls", "directory.problems"},
    "naming": GROUND
    | {"transport", "security", "session", "links", "directory.problems", "directory.entries", "directory.interface"},
    "daemon": GROUND | {"transport", "channels", "security", "session", "naming", "handover"},
    "directory": {"chanlink"},
    "testing": {"chanlink"},
    "command": {"chanlink"},
    "blocking": {"chanlink"},
}
"""Each room, and which others it may import: of those above in this table, never of those below.

A room within a room is one of its own, and imports nothing of the room around it, but for `security.resuming` and
`security.tls`, which stand on that. Two files that inner rooms need have
rows of their own.
"""


def assert_only(found: set[str], listed: Collection[str]) -> None:
    """No more than is listed, and no less: what is mended leaves the list, so that lists of exceptions only shrink."""
    problems = [f"not allowed: {one}" for one in sorted(found - set(listed))]
    problems += [f"mended, take it off the list: {one}" for one in sorted(set(listed) - found)]
    assert not problems, "\n".join(problems)


def name_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree_of(name: str) -> ast.Module:
    """What a module says; no process that tests something else reads it."""
    return ast.parse(MODULES[name].read_text())


def path_of(name: str) -> str:
    return MODULES[name].relative_to(ROOT).as_posix()


def is_of(name: str, room: str) -> bool:
    return f"{name}.".startswith(f"{room}.")


def room_of(name: str) -> str:
    """The innermost room; the package's own face and its ``__main__`` are outside of all."""
    if name in GROUND:
        return "ground"
    return max((room for room in ROOMS if is_of(name, room)), key=len, default="chanlink")


def imported(name: str) -> set[tuple[str, str]]:
    """What one module of this package imports of the others: module and name, which is empty for the module itself."""
    parts = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    package = ".".join(["chanlink", *parts]) if name != "__init__" else "chanlink"
    found: set[tuple[str, str]] = set()
    for full, what in imports(tree_of(name), package):
        if full.split(".")[0] == "chanlink":
            module, inner = full.removeprefix("chanlink").removeprefix("."), f"{full}.{what}".removeprefix("chanlink.")
            found.add((inner, "") if what and inner in MODULES else (module or "__init__", what))
    return found


@cache
def own_imports(name: str) -> set[str]:
    return {module for module, _ in imported(name)}


def may_import(name: str, other: str) -> bool:
    room, there = room_of(name), room_of(other)
    if room in (there, "chanlink"):
        return True
    if room == "ground":
        return False
    if room in ABOVE:  # which names, another rule says
        return True
    return any(is_of(other, row) for row in ROOMS[room])


def test_every_file_is_in_a_room() -> None:
    assert {name for name in MODULES if room_of(name) == "chanlink"} == {"__init__", "__main__"}


def test_no_row_names_a_room_below_it() -> None:
    rooms = list(ROOMS)
    for number, (room, row) in enumerate(ROOMS.items()):
        for other in row - GROUND - {"chanlink"}:
            assert any(is_of(other, above) for above in rooms[:number]), f"{room} names {other}"


def test_rooms_import_only_what_stands_in_their_row() -> None:
    across = {
        f"{path_of(name)}: {other}" for name in MODULES for other in own_imports(name) if not may_import(name, other)
    }
    assert not across


def test_neighbours_are_imported_by_a_dot_and_others_by_their_whole_name() -> None:
    """So the head of a file shows which rooms it needs. (That no import begins with two dots, ruff sees to.)"""
    for name in MODULES:
        room = "chanlink." + name.rpartition(".")[0] if "." in name else "chanlink"
        for node in ast.walk(tree_of(name)) if not path_of(name).endswith("__init__.py") else ():
            if isinstance(node, ast.ImportFrom):
                module, line = node.module or "", f"{path_of(name)}, line {node.lineno}"
                assert node.level or module.rpartition(".")[0] != room, f"{line}: a neighbour"
                assert not node.level or "." not in module, f"{line}: an inner room"


def test_nothing_imports_in_a_circle() -> None:
    """Also not for type checkers, and not inside functions."""
    done: set[str] = set()
    while len(done) < len(MODULES):
        ready = {name for name in MODULES if name not in done and own_imports(name) <= done}
        assert ready, f"a circle among {set(MODULES) - done}"
        done |= ready


FACES = {
    "blocking/__init__.py",
    "calls/__init__.py",
    "command/__init__.py",
    "directory/__init__.py",
    "gateways/__init__.py",
    "observing/__init__.py",
    "patterns/__init__.py",
    "testing/__init__.py",
}
"""These are imported by users, and hand on what the files of their room define."""


def test_a_room_opens_with_its_theory_and_imports_nothing() -> None:
    """So that the import of one file is not that of its whole room."""
    inits = {path_of(name) for name, path in MODULES.items() if path.name == "__init__.py" and name != "__init__"}
    trees = {path_of(name): tree_of(name) for name in MODULES}
    assert not {path for path in inits if ast.get_docstring(trees[path]) is None}
    assert_only({path for path in inits if list(imports(trees[path], "chanlink"))}, FACES)


# --- what stands above uses public names --------------------------------------------------------

ABOVE = ("patterns", "calls", "directory", "testing", "command", "blocking")
INNER: dict[str, str] = {
    "blocking/ends.py: limits MAX_DEPTH": "how deep in a message there may be ends is said there",
    "blocking/portal.py: forks forget_in_child": "a thread is not in a forked process, and this says so",
    "calls/client.py: channels.channel pipe_without_trace": "a call has a trace, its reply channel none",
    "calls/client.py: errors MAX_CODE": "codes of calls are written as those of channels",
    "calls/client.py: instrument Instruments": "calls are told of as channels are",
    "calls/failures.py: errors MAX_CODE": "codes of calls are written as those of channels",
    "calls/failures.py: errors as_code": "codes of calls are written as those of channels",
    "calls/messages.py: channels.values End": "ends of all kinds are refused in the same way",
    "calls/parts.py: channels.typed converter_of": "arguments have the types of messages, but no channel each",
    "calls/parts.py: channels.typed take_ends": "arguments have the types of messages, but no channel each",
    "calls/serving.py: errors peers_doing": "what callers do is logged as what other peers do is",
    "calls/serving.py: instrument Instrument": "calls are told of as channels are",
    "calls/serving.py: printing printable_logger": "the log says what others have named",
    "calls/serving.py: session.services forget_locals": "a method's failure is logged as that of a service is",
    "calls/serving.py: session.session until_draining": "a service stops when its session drains",
    "calls/telling.py: errors as_code": "codes of calls are written as those of channels",
    "calls/telling.py: instrument CallInfo": "calls are told of as channels are",
    "calls/telling.py: instrument CallOutcome": "calls are told of as channels are",
    "calls/telling.py: instrument Instrument": "calls are told of as channels are",
    "calls/telling.py: instrument Instruments": "calls are told of as channels are",
    "command/actions/daemon_files.py: daemon.accounts IMPORT": "the command is the daemon's face",
    "command/actions/daemon_files.py: daemon.accounts IPC": "the command is the daemon's face",
    "command/actions/daemon_files.py: daemon.accounts group_of": "the command is the daemon's face",
    "command/actions/daemon_files.py: daemon.folder Folder": "the command is the daemon's face",
    "command/actions/daemon_files.py: daemon.journal Row": "the command is the daemon's face",
    "command/actions/daemon_files.py: daemon.journal read_rows": "the command is the daemon's face",
    "command/actions/daemon_files.py: daemon.running locked": "the command is the daemon's face",
    "command/actions/daemon_files.py: daemon.settings": "the command is the daemon's face",
    "command/actions/daemon_process.py: daemon.folder Folder": "the command is the daemon's face",
    "command/actions/daemon_process.py: daemon.given Given": "the command is the daemon's face",
    "command/actions/daemon_process.py: daemon.given notify": "the command is the daemon's face",
    "command/actions/daemon_process.py: daemon.running Place": "the command is the daemon's face",
    "command/actions/daemon_process.py: daemon.running running": "the command is the daemon's face",
    "command/actions/daemon_process.py: handover.folder folder": "where its sockets are, applications are told there",
    "command/actions/drawing.py: observing.graph.picture Asked": "what servers have told is drawn there",
    "command/actions/drawing.py: observing.graph.picture Picture": "what servers have told is drawn there",
    "command/actions/drawing.py: observing.graph.picture picture": "what servers have told is drawn there",
    "command/actions/drawing.py: observing.graph.reading Report": "what servers have told is drawn there",
    "command/actions/drawing.py: observing.graph.reading read": "what servers have told is drawn there",
    "command/actions/carrying.py: transport.address parse_address": "bytes go on as they are, below any session",
    "command/actions/carrying.py: transport.base BROKEN": "bytes go on as they are, below any session",
    "command/actions/carrying.py: transport.reaching connect_socket": "bytes go on as they are, below any session",
    "command/actions/forwarding.py: limits Bucket": "complaints are bounded as all else that others can cause",
    "command/actions/forwarding.py: transport.accepting accept_each": "its sockets can reset",
    "command/actions/forwarding.py: transport.address Address": "its sockets can reset",
    "command/actions/forwarding.py: transport.address parse_address": "its sockets can reset",
    "command/actions/forwarding.py: transport.reaching connect_socket": "its sockets can reset",
    "command/actions/forwarding.py: transport.listen ListeningSockets": "its sockets can reset",
    "command/actions/forwarding.py: transport.listen listening_sockets": "its sockets can reset",
    "command/actions/forwarding.py: transport.sockets SocketTransport": "its sockets can reset",
    "command/actions/key_files.py: security.keys.files": "no public name shows a key",
    "command/actions/key_files.py: security.keys.openssh": "no public name shows a key",
    "command/actions/key_files.py: security.keys.ssh_agent SshAgent": "no public name shows a key",
    "command/actions/key_files.py: security.keys.credential Credential": "no public name shows those of an agent",
    "command/actions/pages.py: observing.graph.page POLICY": "what servers have told is drawn there",
    "command/actions/pages.py: observing.loopback is_for_loopback": "a page on loopback is guarded as the metrics are",
    "command/actions/peer_files.py: security.keys.files": "it changes the files that these read",
    "command/actions/peer_files.py: security.keys.known_lines": "it changes the files that these read",
    "command/actions/peer_files.py: security.keys.syntax": "it changes the files that these read",
    "command/actions/peer_files.py: transport.target parse_target": "it changes the files that these read",
    "command/actions/trust_file.py: security.keys.syntax": "it changes the files that these read",
    "command/actions/trust_file.py: security.keys.trust_lines": "it changes the files that these read",
    "command/actions/vouching.py: security.keys.credential CREDENTIAL_TYPE": "it shows all that is in one",
    "command/actions/vouching.py: security.keys.credential Credential": "it shows all that is in one",
    "command/actions/vouching.py: security.keys.credential HOST": "it shows all that is in one",
    "command/actions/vouching.py: security.keys.files": "no public name shows a key",
    "command/actions/vouching.py: security.keys.openssh KEY_FILE_MAX": "no public name shows a key",
    "command/actions/vouching.py: security.keys.successor LIFE": "programs have no use for one",
    "command/actions/vouching.py: security.keys.successor Successor": "programs have no use for one",
    "command/cli.py: printing printable_traceback": "a defect is shown as a log would show it",
    "command/commands/graph.py: observing.graph.dot dot": "what servers have told is drawn there",
    "command/commands/graph.py: observing.graph.page page": "what servers have told is drawn there",
    "command/commands/graph.py: observing.graph.page standalone": "what servers have told is drawn there",
    "command/commands/graph.py: observing.graph.page summary": "what servers have told is drawn there",
    "command/commands/graph.py: observing.graph.picture Picture": "what servers have told is drawn there",
    "command/commands/ping.py: security.suites": "what only the first handshake of a process does shall not count",
    "command/sessions.py: transport.target parse_target": "a wrong address is said before a passphrase is asked for",
    "directory/board.py: clock": "that of sessions: it goes on while the machine sleeps",
    "directory/board.py: printing printable_logger": "the log says what others have named",
    "directory/client.py: instrument Instrument": "the type of a parameter that `reconnecting` has, too",
    "directory/client.py: backoff Backoff": "pauses are those of links",
    "directory/client.py: printing printable_logger": "the log says what others have named",
    "directory/client.py: security.psk Psk": "the type of a parameter that `reconnecting` has, too",
    "directory/etcd/replica.py: clock": "that of sessions: it goes on while the machine sleeps",
    "directory/etcd/store.py: tasks tasks_beside": "a directory whose block fails fails as that block",
    "directory/etcd/watching.py: clock": "that of sessions: it goes on while the machine sleeps",
    "directory/etcd/watching.py: printing printable_logger": "the log says what others have named",
    "directory/opening.py: naming.setting Server": "the text is that of the environment",
    "directory/opening.py: naming.setting VARIABLE": "the text is that of the environment",
    "directory/opening.py: naming.setting parse_setting": "the text is that of the environment",
    "directory/opening.py: security.psk Psk": "what `connect` takes",
    "directory/memory.py: clock": "that of sessions: it goes on while the machine sleeps",
    "directory/registration.py: backoff Backoff": "pauses are those of links",
    "directory/registration.py: printing printable_logger": "the log says what others have named",
    "directory/registration.py: tasks tasks_beside": "an exception of the block leaves it as it is",
    "directory/registration.py: transport.address is_good_name": "what is a name is said once",
    "directory/serving.py: limits Bucket": "what complains at a request's cost has a bound",
    "directory/serving.py: printing printable_logger": "the log says what others have named",
    "directory/serving.py: transport.address is_good_name": "what is a name is said once",
    "directory/serving.py: tasks tasks_beside": "an exception of the block leaves it as it is",
    "directory/sqlite.py: patterns.jobs.grouped Grouped": "what comes together is written together, as jobs are",
    "directory/sqlite.py: patterns.jobs.sqlite_file SQLiteFile": "a file is opened and kept as one of jobs is",
    "directory/sqlite_entries.py: clock": "that of sessions: it goes on while the machine sleeps",
    "directory/sqlite_entries.py: patterns.jobs.sqlite_file SQLiteFile": "a file is opened and kept as one of jobs is",
    "patterns/audience.py: channels.channel failure": "a block that is left says why as that of a sender does",
    "patterns/audience.py: channels.pushing Pusher": "no task for each subscriber",
    "patterns/audience.py: channels.pushing Supply": "no task for each subscriber",
    "patterns/audience.py: errors END": "a channel ends for a reason, as a sender ends it",
    "patterns/audience.py: errors Reason": "a channel ends for a reason, as a sender ends it",
    "patterns/audience.py: session.session until_draining": "a service stops when its session drains",
    "patterns/broadcast.py: channels.pushing Pusher": "no task for each subscriber",
    "patterns/broadcast.py: channels.waiting Loop": "as a sender, it lets others run now and then",
    "patterns/broadcast.py: channels.waiting Steps": "as a sender, it lets others run now and then",
    "patterns/broadcast.py: channels.waiting YIELD_AFTER": "as a sender, it lets others run now and then",
    "patterns/broadcast.py: channels.waiting within": "nobody is cut for the time in which our event loop stood still",
    "patterns/broadcast.py: errors Reason": "a channel ends for a reason, as a sender ends it",
    "patterns/jobs/attempts.py: limits STEPS": "nobody is silent for the time in which our event loop stood still",
    "patterns/jobs/client.py: channels.typed converter_of": "a type that can't be one is said before anything is sent",
    "patterns/jobs/core.py: limits STEPS": "nobody is silent for the time in which our event loop stood still",
    "patterns/jobs/followers.py: channels.pushing Pusher": "no task for each ticket",
    "patterns/jobs/followers.py: errors END": "a channel ends for a reason, as a sender ends it",
    "patterns/jobs/followers.py: errors Reason": "a channel ends for a reason, as a sender ends it",
    "patterns/jobs/grouped.py: tasks tasks_beside": "a queue whose block fails fails as that block",
    "patterns/jobs/job.py: channels.channel failure": "a block that is left says why as that of a sender does",
    "patterns/jobs/job.py: errors MAX_CODE": "codes of jobs are written as those of channels",
    "patterns/jobs/keeping.py: clock": "that of sessions: it goes on while the machine sleeps",
    "patterns/jobs/keeping.py: printing printable_logger": "the log says what others have named",
    "patterns/jobs/line.py: errors END": "a channel ends for a reason, as a sender ends it",
    "patterns/jobs/line.py: errors Reason": "a channel ends for a reason, as a sender ends it",
    "patterns/jobs/line.py: session.session until_draining": "a service stops when its session drains",
    "patterns/jobs/memory.py: clock": "that of sessions: it goes on while the machine sleeps",
    "patterns/jobs/outbox.py: channels.pushing Pusher": "no task for each worker",
    "patterns/jobs/outbox.py: errors END": "a channel ends for a reason, as a sender ends it",
    "patterns/jobs/outbox.py: errors Reason": "a channel ends for a reason, as a sender ends it",
    "patterns/jobs/ticket.py: channels.channel failure": "what can't be attached says why as a sender does",
    "patterns/jobs/ticket.py: tasks tasks_beside": "an exception of the block leaves it as it is",
    "patterns/jobs/way.py: channels.handle Handle": "an end of a view that is forgotten is closed, as it owns nothing",
    "patterns/jobs/way.py: channels.objects all_ends": "ends in what nobody takes are refused",
    "patterns/jobs/way.py: errors NEVER_ACCEPTED": "which codes say that nobody has seen a request",
    "patterns/jobs/worker.py: tasks tasks_beside": "an exception of the block leaves it as it is",
    "patterns/jobs/postgres/connection.py: clock": "that of sessions: it goes on while the machine sleeps",
    "patterns/jobs/postgres/moves.py: clock": "that of sessions: it goes on while the machine sleeps",
    "patterns/jobs/postgres/store.py: printing printable_logger": "the log says what others have named",
    "patterns/jobs/postgres/store.py: tasks tasks_beside": "a queue whose block fails fails as that block",
    "patterns/jobs/postgres/watching.py: clock": "that of sessions: it goes on while the machine sleeps",
    "patterns/jobs/postgres/watching.py: printing printable_logger": "the log says what others have named",
    "patterns/jobs/payloads.py: channels.typed converter_of": "what a queue passes on unread has the types of its ends",
    "patterns/jobs/payloads.py: wire.messages.decode unpack": "what a queue passes on unread is read at its ends",
    "patterns/jobs/queue.py: channels.typed converter_of": "what can't be a type is said where it is given",
    "patterns/jobs/queue.py: session.services Handler": "what `service` makes is one",
    "patterns/jobs/queue.py: tasks tasks_beside": "an exception of the block leaves it as it is",
    "patterns/jobs/requests.py: channels.objects all_ends": "ends in what is no message of ours are refused",
    "patterns/jobs/requests.py: errors MAX_CODE": "codes of failures are written as those of channels",
    "patterns/jobs/serving.py: session.session until_draining": "a service stops when its session drains",
    "patterns/jobs/sqlite_jobs.py: clock": "a delay goes on while the machine is suspended, as a session's age does",
    "patterns/subscription.py: channels.cases Opener": "it can be selected",
    "patterns/subscription.py: channels.handle Closing": "the type of a case that `Receiver.closing` returns, too",
    "patterns/subscription.py: channels.objects ends_in": "ends in what is no message of ours are refused",
    "patterns/watch.py: channels.pushing Pusher": "no task for each subscriber",
    "testing/guests.py: security.keys.trust Grant": "a trust that grows while a server runs is for tests only",
    "testing/hosting.py: tasks tasks_beside": "an exception of the block leaves it as it is",
    "testing/pairs.py: session.services check_services": "a parameter that `accept` has, too",
    "testing/pairs.py: tasks tasks_beside": "an exception of the block leaves it as it is",
    "testing/sessions.py: instrument Instrument": "the type of a parameter that `listen` has, too",
    "testing/sessions.py: instrument told": "a parameter that `listen` has, too",
    "testing/sessions.py: security.stream PlainStream": "nobody else shall have a session in the clear",
    "testing/sessions.py: session.services Services": "the type of a parameter that `listen` has, too",
    "testing/sessions.py: session.services check_services": "a parameter that `listen` has, too",
}
"""What these rooms take of the inside nevertheless, and why."""


def inner_names(name: str) -> set[str]:
    """What a file takes of this package that is neither of its own room nor a public name.

    `patterns` and `calls` take public names from where they are defined, since ``chanlink/__init__.py`` imports them.
    The others may take what the faces of rooms hand on. What checks arguments is for whoever has public functions.
    """
    found = {name for name in attributes_of(tree_of(name), "chanlink") - set(chanlink.__all__) if name not in MODULES}
    for module, what in imported(name):
        if is_of(module, room_of(name)) or module == "arguments" or (module == "__init__" and not what):
            continue
        if f"{module}/__init__.py" in FACES and what in ("", *importlib.import_module(f"chanlink.{module}").__all__):
            continue
        if what not in chanlink.__all__ or (module != "__init__" and room_of(name) not in ("patterns", "calls")):
            found.add(f"{module} {what}".strip())
    return found


def test_what_stands_above_uses_public_names() -> None:
    above = [name for name in MODULES if room_of(name) in ABOVE]
    assert_only({f"{path_of(name)}: {inner}" for name in above for inner in inner_names(name)}, INNER)


def test_examples_use_public_names_only() -> None:
    for path in sorted(EXAMPLES.rglob("*.py")):
        tree = ast.parse(path.read_text())
        assert attributes_of(tree, "chanlink") <= set(chanlink.__all__), path
        for module, name in imports(tree, "examples"):
            if module.split(".")[0] == "chanlink":
                assert module == "chanlink" or f"{module.removeprefix('chanlink.')}/__init__.py" in FACES, path
                assert name in ("", *importlib.import_module(module).__all__), path


# --- no I/O, no clock, no backend ---------------------------------------------------------------

SANS_IO = (
    "security.admission",
    "security.early.prekey",
    "security.early.prekeys",
    "security.noise",
    "security.payloads",
    "security.psk",
    "security.records",
    "security.rekey",
    "session.liveness",
    "wire",
)
IO = {"time", "socket", "anyio", "asyncio", "trio", "threading", "os", "select", "selectors", "ssl", "subprocess"}
NEVER = {"asyncio", "trio", "pickle", "threading", "importlib", "marshal", "shelve"}
THREADS = {
    "blocking.jobs": "a thread waits for a lock, which signals end",
    "blocking.portal": "an event loop that runs in a thread is what this room is",
    "patterns.jobs.postgres.connection": "a store's own thread waits in libpq, and others end that by its socket",
}
"""Where there may be threads, and why: `threading` is nobody else's."""
LATE = {"__init__": "names are loaded when a program asks for them, each from a place that its table says"}
"""Where modules are imported by their names, and why: `importlib` is nobody else's."""
CALLED = {"eval", "exec", "compile", "__import__"}


def top_levels(name: str) -> set[str]:
    return {full.split(".")[0] for full, _ in imports(tree_of(name), "chanlink")}


def test_cores_do_no_io_and_know_no_clock() -> None:
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    for name in MODULES:
        if any(is_of(name, one) for one in SANS_IO):
            io = top_levels(name) & IO
            if attributes_of(tree_of(name), "os") <= {"PathLike"}:  # a type
                io -= {"os"}
            assert not io, name
            assert not [node for node in ast.walk(tree_of(name)) if isinstance(node, asynchronous)], name


def test_the_cores_are_there() -> None:
    assert not set(SANS_IO) - set(MODULES)


def test_no_module_binds_itself_to_a_backend_or_runs_what_a_peer_names() -> None:
    for name in MODULES:
        allowed = ({"threading"} if name in THREADS else set()) | ({"importlib"} if name in LATE else set())
        assert not (top_levels(name) & NEVER) - allowed, name
        calls = (node.func for node in ast.walk(tree_of(name)) if isinstance(node, ast.Call))
        assert not {func.id for func in calls if isinstance(func, ast.Name)} & CALLED, name


# --- objects keep to themselves -----------------------------------------------------------------

THEIRS = {
    "blocking/held.py: exc.__traceback__": "as contextlib does: an exception leaves a block as it came",
    "calls/marks.py: setattr(method)": "a decorator marks a function, as that for abstract methods does",
    "calls/serving.py: scope.deadline": "so anyio moves a deadline",
    "command/actions/directory_entries.py: options.address": "argparse gives a namespace for that",
    "command/actions/directory_entries.py: options.says_key": "argparse gives a namespace for that",
    "command/commands/bench.py: options.service": "argparse gives a namespace for that",
    "command/commands/cat.py: options.service": "argparse gives a namespace for that",
    "command/commands/forward.py: options.targets": "argparse gives a namespace for that",
    "command/output.py: sys.stdout": "what Python flushes at its end",
    "command/sessions.py: options.address": "argparse gives a namespace for that",
    "command/sessions.py: options.host": "argparse gives a namespace for that",
    "command/sessions.py: options.identity": "argparse gives a namespace for that",
    "command/sessions.py: options.loaded": "argparse gives a namespace for that",
    "command/sessions.py: options.peer": "argparse gives a namespace for that",
    "patterns/jobs/worker.py: reading.deadline": "so anyio moves a deadline",
    "printing.py: record.args": "a filter of logging changes records",
    "printing.py: record.exc_text": "a filter of logging changes records",
    "printing.py: record.msg": "a filter of logging changes records",
    "security/tls/certificate.py: context.check_hostname": "so the standard library is told what TLS is to be",
    "security/tls/certificate.py: context.num_tickets": "so the standard library is told what TLS is to be",
    "security/tls/certificate.py: context.verify_mode": "so the standard library is told what TLS is to be",
    "session/driver.py: self._parting.deadline": "so anyio moves a deadline",
    "session/route.py: self._tasks.cancel_scope.deadline": "so anyio moves a deadline",
    "session/session.py: self._tasks.cancel_scope.deadline": "so anyio moves a deadline",
    "wire/h2/connection.py: stream.outbound_flow_control_window": "the file that knows h2's inside",
    "wire/h2/connection.py: values._settings": "the file that knows h2's inside",
}
"""Where a file assigns to attributes of objects of other packages, and why."""
WRITES = {
    "blocking/portal.py: job.collected": "signals come with calls: a verb could be kept from happening",
    "blocking/portal.py: job.left": "signals come with calls: a verb could be kept from happening",
    "blocking/portal.py: job.value": "signals come with calls: a verb could be kept from happening",
    "patterns/jobs/postgres/moves.py: self._database.committing": "said in the middle of what the database calls",
    "patterns/jobs/postgres/rows.py: row.since": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.ended_by": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.home": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.outcome": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.progress": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.returned_by": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.returned_for": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.state": "a row is data, and that file is what changes it",
    "patterns/jobs/postgres/rows.py: row.store": "a row is data, and that file is what changes it",
    "session/driver.py: self.liveness.heard": "the reader says so for each arrival, where a call costs",
    "session/driver.py: self.liveness.writing_since": "the writer says so for each record, where a call costs",
    "session/returns.py: self._peer.address": "`Peer` is data, and public: a verb would be on its face",
    "session/session.py: self.peer.issued": "`Peer` is data, and public: a verb would be on its face",
    "session/session.py: self.peer.name": "`Peer` is data, and public: a verb would be on its face",
    "session/session.py: self.peer.names": "`Peer` is data, and public: a verb would be on its face",
}
"""Where a file assigns to attributes of objects of ours that it did not make, and why there is no verb for it."""
KEPT = {
    "channels/cores.py": ("SendCore", "ReceiveCore"),
    "wire/credit.py": ("Window",),
    "wire/incoming.py": ("Incoming",),
    "wire/outgoing.py": ("Outgoing",),
    "wire/stream.py": ("Stream",),
}
"""Classes whose attributes nobody else writes: what is over, and why, and how much credit is left."""
SEAMS = ("NoiseStream", "PlainStream", "SocketTransport", "MemoryQueue", "MessageQueue", "ByteQueue")


def test_writes_stay_at_home() -> None:
    assert_only(
        {f"{path_of(name)}: {target}" for name in MODULES for target in foreign_writes(tree_of(name))},
        [*WRITES, *THEIRS],
    )


def test_nobody_else_writes_the_state_of_streams_and_cores() -> None:
    classes = {
        node.name: attributes_in(node)
        for name in MODULES
        for node in tree_of(name).body
        if isinstance(node, ast.ClassDef) and node.name in KEPT.get(path_of(name), ())
    }
    assert set(classes) == {cls for names in KEPT.values() for cls in names}
    state = set().union(*classes.values())
    assert not {entry for entry in WRITES if attribute_of(entry.partition(": ")[2]) in state}


def test_the_seams_are_there() -> None:
    assert not set(SEAMS) - {seam for seam in SEAMS for name in MODULES if defines(tree_of(name), seam)}


def defines(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.walk(tree))


def test_nobody_asks_what_is_behind_a_seam() -> None:
    """Whoever does has a second way beside the interface, and a third kind of thing behind it takes neither."""
    asked = {
        f"{path_of(name)}: {cls}"
        for name in MODULES
        for cls in asked_for(tree_of(name)).intersection(SEAMS)
        if not defines(tree_of(name), cls)
    }
    assert not asked


# --- tests mirror the sources -------------------------------------------------------------------


def test_every_source_has_its_test_file() -> None:
    sources = {path_of(name) for name in MODULES if not name.endswith(("__init__", "__main__"))}
    sources = {source for source in sources if not source.endswith("__init__.py")}
    tested = {
        path.relative_to(TESTS).with_name(path.name.removeprefix("test_")).as_posix()
        for path in TESTS.rglob("test_*.py")
    }
    assert not sources - tested


def test_the_public_names_are_there() -> None:
    for name in chanlink.__all__:
        assert hasattr(chanlink, name), name


# --- the tests ----------------------------------------------------------------------------------

MEASURES = {TESTS / "patience.py", *TESTS.glob("bench/**/*.py"), *TESTS.glob("*/__main__.py")}


def test_no_clock_decides_whether_a_test_passes() -> None:
    found = ((path, verdicts(path.read_text())) for path in sorted(set(TESTS.rglob("*.py")) - MEASURES))
    assert not [f"{path}, line {line} {problem}" for path, problems in found for line, problem in problems]
