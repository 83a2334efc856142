"""The interface between a session and its multiplexer: nothing passes by it."""

import ast
from pathlib import Path

from chanlink.errors import SessionClosed
from chanlink.limits import Limits
from chanlink.session import session
from chanlink.wire.multiplexer import Multiplexer, MuxStatistics

from .muxes import Pair

VERBS = {name for name in vars(Multiplexer) if not name.startswith("_")}


def test_sessions_use_all_of_it_and_nothing_else() -> None:
    used = set()
    for path in Path(session.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
                of = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                if of in ("mux", "_mux"):
                    used.add(node.attr)
    assert used == VERBS


def test_statistics_say_what_is_open_and_what_is_left() -> None:
    pair = Pair(Limits(session_budget=1_000_000))
    mux = pair.server.mux
    assert mux.statistics() == MuxStatistics(0, 1_000_000, 0.0)
    for kind in ("receiver", "sender", "bytes"):
        pair.open(kind)
    mux.measured(0.25)
    mux.measured(0.5)  # the shortest counts
    assert mux.statistics() == MuxStatistics(3, 1_000_000, 0.25)
    mux.lose(SessionClosed())
    assert mux.statistics() == MuxStatistics(0, 1_000_000, 0.25)
