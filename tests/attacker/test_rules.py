"""The rules, on numbered frames."""

import pytest

from .rules import doubling, dropping, flipping, pass_on, putting_before, turning_round

pytestmark = pytest.mark.anyio

CASES = {
    "pass_on": (lambda: pass_on, [b"a", b"b", b"c"]),
    "dropping": (lambda: dropping(1), [b"a", b"", b"c"]),
    "doubling": (lambda: doubling(1), [b"a", b"bb", b"c"]),
    "flipping": (lambda: flipping(1), [b"a", b"c", b"c"]),
    "putting_before": (lambda: putting_before(1, b"x"), [b"a", b"xb", b"c"]),
    "turning_round": (lambda: turning_round(1), [b"a", b"", b"cb"]),
}


@pytest.mark.parametrize("name", CASES)
async def test_only_one_frame_is_concerned(name: str) -> None:
    make, expected = CASES[name]
    rule = make()
    assert [await rule(number, frame) for number, frame in enumerate([b"a", b"b", b"c"])] == expected
