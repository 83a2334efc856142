"""Remote commands: 1 GiB through a `dd` there, and ``true``, on an open connection and from nothing."""

from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import MEGABYTES, MILLISECONDS

GIB = 1024 * 1024 * 1024
WARM = 200
COLD = 10
AES, CHACHA, PUMP = "OpenSSH aes128-gcm", "OpenSSH chacha20-poly1305", "pump over TCP, not encrypted"


def rows() -> list[Row]:
    return [
        _pumped("rexec-in", "1 GiB from dd into a remote dd", "into"),
        _pumped("rexec-out", "1 GiB from a remote dd into dd", "out_of"),
        _warm(),
        _kept(),
        _cold(),
    ]


def _openssh(work: str, cipher: str, count: int) -> Task:
    return Task("openssh", work, {"cipher": cipher, "count": count})


def _pumped(name: str, what: str, work: str) -> Row:
    peers = {
        AES: _openssh(work, "aes128-gcm", GIB),
        CHACHA: _openssh(work, "chacha20-poly1305", GIB),
        PUMP: Task("plain_pump", work, {"count": GIB}),
        "two dd and a pipe": Task("pipe", "into", {"count": GIB}),
    }
    goals = (Goal(">=", 1.0, AES), Goal(">=", 0.75, PUMP))
    return Row(name, what, MEGABYTES, Task("rexec", work, {"count": GIB}), peers, goals)


def _warm() -> Row:
    options = {"count": WARM}
    server, both = "asyncssh, OpenSSH's server", "asyncssh"
    peers = {
        both: Task("asyncssh_both", "command", options),
        server: Task("asyncssh_to_openssh", "command", options),
        "fork+exec": Task("pipe", "command", options),
    }
    goals = (Goal("<=", 1.0, both), Goal("<=", 2.0, "fork+exec"))
    return Row("true", "run true on an open session", MILLISECONDS, Task("rexec", "command", options), peers, goals)


def _interpreter(program: str) -> Task:
    return Task("pipe", "interpreter", {"count": COLD, "program": program})


def _kept() -> Row:
    master, interpreter = "OpenSSH, ControlMaster", "an interpreter with nothing"
    peers = {master: _openssh("kept", "aes128-gcm", COLD), interpreter: _interpreter("pass")}
    ours = Task("rexec", "kept", {"count": COLD})
    return Row(
        "true-shared", "run true by a session that a process keeps", MILLISECONDS, ours, peers, (Goal("<=", 60),)
    )


def _cold() -> Row:
    ours = Task("rexec", "cold", {"count": COLD})
    peers = {
        "OpenSSH": _openssh("cold", "aes128-gcm", COLD),
        "an interpreter with anyio": _interpreter("import anyio; anyio.run(anyio.sleep, 0)"),
    }
    return Row("true-cold", "run true from nothing", MILLISECONDS, ours, peers, (Goal("<=", 1.0, "OpenSSH"),))
