"""The shape of the code: who imports whom, who does I/O, and who writes into whom."""

import ast
from collections.abc import Collection
from pathlib import Path

import pytest

import chanlink
from tests.project.clocks import verdicts
from tests.project.shape import asked_for, attribute_of, attributes_in, attributes_of, foreign_writes, imports

ROOT = Path(chanlink.__file__).parent
EXAMPLES = ROOT.parent / "examples"
TESTS = Path(__file__).parent

# --- rooms --------------------------------------------------------------------------------------

GROUND = {"bytes_like", "clock", "errors", "forks", "limits", "printing", "tasks"}
"""Files that all rooms stand on; among them each may import any other, as long as there is no circle."""
ROOMS: dict[str, set[str]] = {
    "transport": GROUND,
    "channels.values": GROUND,
    "channels": GROUND | {"channels.values"},
    "security.noise": GROUND,
    "security.keys": GROUND | {"transport", "security.noise"},
    "security": GROUND | {"transport", "security.noise", "security.keys"},
    "wire.messages": GROUND | {"channels.values"},
    "wire.opening": GROUND | {"channels.values"},
    "wire.h2": GROUND | {"wire.messages", "wire.opening"},
    "wire": GROUND | {"channels.values", "wire.messages", "wire.opening", "wire.h2"},
    "session.ends": GROUND | {"channels", "wire"},
    "session": GROUND | {"transport", "channels", "security", "wire", "session.ends"},
    "patterns": GROUND | {"channels", "wire", "session"},
    "testing": {"chanlink"},
    "command": {"chanlink"},
}
"""Each room, and which others it may import: of those above in this table, never of those below.

A room within a room is one of its own, and imports nothing of the room around it. Two files that inner rooms need have
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
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


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
    for full, what in imports(TREES[name], package):
        if full.split(".")[0] == "chanlink":
            module, inner = full.removeprefix("chanlink").removeprefix("."), f"{full}.{what}".removeprefix("chanlink.")
            found.add((inner, "") if what and inner in MODULES else (module or "__init__", what))
    return found


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


@pytest.mark.parametrize("name", MODULES)
def test_every_file_is_in_a_room(name: str) -> None:
    assert room_of(name) != "chanlink" or name in ("__init__", "__main__")


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


@pytest.mark.parametrize("name", [name for name in MODULES if not path_of(name).endswith("__init__.py")])
def test_neighbours_are_imported_by_a_dot_and_others_by_their_whole_name(name: str) -> None:
    """So the head of a file shows which rooms it needs. (That no import begins with two dots, ruff sees to.)"""
    room = "chanlink." + name.rpartition(".")[0] if "." in name else "chanlink"
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert node.level or module.rpartition(".")[0] != room, f"line {node.lineno}: a neighbour"
            assert not node.level or "." not in module, f"line {node.lineno}: an inner room"


def test_nothing_imports_in_a_circle() -> None:
    """Also not for type checkers, and not inside functions."""
    done: set[str] = set()
    while len(done) < len(MODULES):
        ready = {name for name in MODULES if name not in done and own_imports(name) <= done}
        assert ready, f"a circle among {set(MODULES) - done}"
        done |= ready


FACES = {"command/__init__.py", "testing/__init__.py"}
"""These are imported by users, and hand on what the files of their room define."""


def test_a_room_opens_with_its_theory_and_imports_nothing() -> None:
    """So that the import of one file is not that of its whole room."""
    inits = {path_of(name) for name, path in MODULES.items() if path.name == "__init__.py" and name != "__init__"}
    trees = {path_of(name): tree for name, tree in TREES.items()}
    assert not {path for path in inits if ast.get_docstring(trees[path]) is None}
    assert_only({path for path in inits if list(imports(trees[path], "chanlink"))}, FACES)


# --- what stands above uses public names --------------------------------------------------------

ABOVE = ("patterns", "testing", "command")
INNER: dict[str, str] = {
    "command/actions/forwarding.py: limits Bucket": "complaints are bounded as all else that others can cause",
    "command/actions/forwarding.py: transport.accepting accept_each": "its sockets can reset",
    "command/actions/forwarding.py: transport.address Address": "its sockets can reset",
    "command/actions/forwarding.py: transport.address parse_address": "its sockets can reset",
    "command/actions/forwarding.py: transport.dial connect_socket": "its sockets can reset",
    "command/actions/forwarding.py: transport.listen ListeningSockets": "its sockets can reset",
    "command/actions/forwarding.py: transport.listen listening_sockets": "its sockets can reset",
    "command/actions/forwarding.py: transport.sockets SocketTransport": "its sockets can reset",
    "command/actions/key_files.py: security.keys.files": "no public name shows a key",
    "command/actions/key_files.py: security.keys.openssh": "no public name shows a key",
    "command/actions/key_files.py: security.keys.ssh_agent SshAgent": "no public name shows a key",
    "command/actions/peer_files.py: security.keys.files": "it changes the files that these read",
    "command/actions/peer_files.py: security.keys.known_peers": "it changes the files that these read",
    "command/actions/peer_files.py: security.keys.syntax": "it changes the files that these read",
    "command/actions/peer_files.py: security.keys.trust": "it changes the files that these read",
    "command/actions/peer_files.py: transport.address parse_address": "it changes the files that these read",
    "command/cli.py: printing printable_traceback": "a defect is shown as a log would show it",
    "command/commands/ping.py: security.suites": "what only the first handshake of a process does shall not count",
    "command/sessions.py: transport.address parse_address": "a wrong address is said before a passphrase is asked for",
    "patterns/inspection.py: session.snapshot SessionState": "what a session is doing is read where it is kept",
    "patterns/inspection.py: session.snapshot snapshot": "what a session is doing is read where it is kept",
    "testing/sessions.py: session.services Services": "the type of a parameter that `listen` has, too",
}
"""What these rooms take of the inside nevertheless, and why."""


def inner_names(name: str) -> set[str]:
    """What a file takes of this package that is neither of its own room nor a public name.

    `patterns` takes public names from where they are defined, since ``chanlink/__init__.py`` imports it.
    """
    found = {name for name in attributes_of(TREES[name], "chanlink") - set(chanlink.__all__) if name not in MODULES}
    for module, what in imported(name):
        if is_of(module, room_of(name)) or (module == "__init__" and not what):
            continue
        if what not in chanlink.__all__ or (module != "__init__" and room_of(name) != "patterns"):
            found.add(f"{module} {what}".strip())
    return found


def test_what_stands_above_uses_public_names() -> None:
    above = [name for name in MODULES if room_of(name) in ABOVE]
    assert_only({f"{path_of(name)}: {inner}" for name in above for inner in inner_names(name)}, INNER)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_examples_use_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert attributes_of(tree, "chanlink") <= set(chanlink.__all__)
    for module, name in imports(tree, "examples"):
        if module.split(".")[0] == "chanlink":
            assert module == "chanlink"
            assert name in ("", *chanlink.__all__)


# --- no I/O, no clock, no backend ---------------------------------------------------------------

SANS_IO = (
    "security.admission",
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
CALLED = {"eval", "exec", "compile", "__import__"}


def top_levels(name: str) -> set[str]:
    return {full.split(".")[0] for full, _ in imports(TREES[name], "chanlink")}


@pytest.mark.parametrize("name", [name for name in MODULES if any(is_of(name, one) for one in SANS_IO)])
def test_cores_do_no_io_and_know_no_clock(name: str) -> None:
    io = top_levels(name) & IO
    if attributes_of(TREES[name], "os") <= {"PathLike"}:  # a type
        io -= {"os"}
    assert not io
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [node for node in ast.walk(TREES[name]) if isinstance(node, asynchronous)]


@pytest.mark.parametrize("name", SANS_IO)
def test_the_cores_are_there(name: str) -> None:
    assert name in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_no_module_binds_itself_to_a_backend_or_runs_what_a_peer_names(name: str) -> None:
    assert not top_levels(name) & NEVER
    called = {
        node.func.id for node in ast.walk(TREES[name]) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & CALLED


# --- objects keep to themselves -----------------------------------------------------------------

THEIRS = {
    "command/commands/bench.py: options.service": "argparse gives a namespace for that",
    "command/commands/cat.py: options.service": "argparse gives a namespace for that",
    "command/commands/forward.py: options.targets": "argparse gives a namespace for that",
    "command/output.py: sys.stdout": "what Python flushes at its end",
    "command/sessions.py: options.loaded": "argparse gives a namespace for that",
    "printing.py: record.args": "a filter of logging changes records",
    "printing.py: record.exc_text": "a filter of logging changes records",
    "printing.py: record.msg": "a filter of logging changes records",
    "session/session.py: self._tasks.cancel_scope.deadline": "so anyio moves a deadline",
    "wire/h2/connection.py: stream.outbound_flow_control_window": "the file that knows h2's inside",
    "wire/h2/connection.py: values._settings": "the file that knows h2's inside",
}
"""Where a file assigns to attributes of objects of other packages, and why."""
WRITES = {
    "session/driver.py: self.liveness.heard": "the reader says so for each arrival, where a call costs",
    "session/driver.py: self.liveness.writing_since": "the writer says so for each record, where a call costs",
    "session/session.py: self.peer.name": "`Peer` is data, and public: a verb would be on its face",
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
        {f"{path_of(name)}: {target}" for name in MODULES for target in foreign_writes(TREES[name])}, [*WRITES, *THEIRS]
    )


def test_nobody_else_writes_the_state_of_streams_and_cores() -> None:
    classes = {
        node.name: attributes_in(node)
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in KEPT.get(path_of(name), ())
    }
    assert set(classes) == {cls for names in KEPT.values() for cls in names}
    state = set().union(*classes.values())
    assert not {entry for entry in WRITES if attribute_of(entry.partition(": ")[2]) in state}


@pytest.mark.parametrize("name", SEAMS)
def test_the_seams_are_there(name: str) -> None:
    assert [tree for tree in TREES.values() if defines(tree, name)]


def defines(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.walk(tree))


def test_nobody_asks_what_is_behind_a_seam() -> None:
    """Whoever does has a second way beside the interface, and a third kind of thing behind it takes neither."""
    asked = {
        f"{path_of(name)}: {cls}"
        for name, tree in TREES.items()
        for cls in asked_for(tree).intersection(SEAMS)
        if not defines(tree, cls)
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


@pytest.mark.parametrize(
    "path", sorted(set(TESTS.rglob("*.py")) - MEASURES), ids=lambda path: str(path.relative_to(TESTS))
)
def test_no_clock_decides_whether_a_test_passes(path: Path) -> None:
    assert not [f"line {line} {problem}" for line, problem in verdicts(path.read_text())]
