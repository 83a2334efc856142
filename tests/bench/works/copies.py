"""`rexec cp` of one large file and of many small ones. Ours computes and compares a hash of everything."""

from tests.bench.harness import Row, Task
from tests.bench.results import Goal
from tests.bench.units import FILES, MEGABYTES

SCP = "scp -Orp"


def rows() -> list[Row]:
    return [
        _row("large", 512 * 1024 * 1024, "a file of 512 MiB to a server, with hash", 0.6),
        _row("small", 5_000, "files of 1 kB to a server, with hash", 1.0),
    ]


def _row(what: str, count: int, text: str, least: float) -> Row:
    options = {"what": what, "count": count}
    peers = {SCP: Task("openssh", "copy", {**options, "cipher": "aes128-gcm"})}
    unit = MEGABYTES if what == "large" else FILES
    return Row(f"copy-{what}", text, unit, Task("rexec", "copy", options), peers, (Goal(">=", least, SCP),))
