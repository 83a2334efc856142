"""What can be called of a directory."""

import subprocess
import sys

from chanlink.directory.interface import looking_up, registering


def test_two_services_with_these_methods() -> None:
    assert set(looking_up().methods) == {"lookup", "changes"}
    assert set(registering().methods) == {"register", "withdraw", "remove"}
    assert looking_up() is looking_up()


def test_what_can_be_repeated_is_called_again_when_a_session_is_lost() -> None:
    methods = {**looking_up().methods, **registering().methods}
    assert {name for name, method in methods.items() if not method.idempotent} == {"changes"}


def test_the_import_needs_no_msgspec() -> None:
    code = "import sys; sys.modules['msgspec'] = None; import chanlink.directory as d; d.MemoryStore()"
    subprocess.run([sys.executable, "-c", code], check=True)
