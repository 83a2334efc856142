"""What is to run, as the guard is told."""

import json

from examples.rexec.messages import Size
from examples.rexec.policy.order import Order
from examples.rexec.policy.users import User


def test_all_bytes_go_to_the_guard_in_one_line() -> None:
    word = bytes(range(1, 256))
    order = Order([b"echo", word], {b"A": word}, b"/\xff")
    line = order.to_json(5.0)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    told = json.loads(line)
    assert [text.encode("latin-1") for text in told["argv"]] == [b"echo", word]
    assert [text.encode("latin-1") for text in told["environment"]] == [b"A=" + word]
    assert told["directory"].encode("latin-1") == b"/\xff"


def test_the_guard_is_told_what_it_needs_of_a_user_and_not_the_time() -> None:
    user = User("www", 33, 34, "/var/www", "/bin/sh")
    told = json.loads(Order([b"id"], {}, None, user, {"time": 3, "files": 9}, Size(80, 24)).to_json(0.5))
    assert told == {
        "argv": ["id"],
        "environment": [],
        "directory": None,
        "user": ["www", 33, 34],
        "terminal": True,
        "limits": {"files": 9},
        "grace": 0.5,
    }
