"""What a command may use at most."""

import pytest

from examples.rexec.limits import MOST, NAMES, checked, lowered, read_limit


@pytest.mark.parametrize(
    ("name", "text", "most"),
    [
        ("processor", "90", 90),
        ("time", "10m", 600),
        ("time", "1d", 86_400),
        ("memory", "2G", 2**31),
        ("memory", "512K", 2**19),
        ("files", "100", 100),
    ],
)
def test_they_are_written_as_people_write_them(name: str, text: str, most: int) -> None:
    assert read_limit(name, text) == most


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e3", "G", "1 G", "1g", "9" * 30, "٣"])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="limit of memory"):
        read_limit("memory", text)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_highest_one(name: str) -> None:
    most = MOST[NAMES[name]]
    assert checked(name, most) == most
    for wrong in (0, most + 1):
        with pytest.raises(ValueError, match=f"a limit of {name} has to be 1 to {most}"):
            checked(name, wrong)


def test_one_that_is_not_known_is_told_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"no limit 'disk'; there are processor, memory"):
        read_limit("disk", "1G")


def test_callers_may_lower_them_and_add_others() -> None:
    assert lowered({"time": 10, "files": 5}, {"time": 3, "memory": 7}) == {"time": 3, "files": 5, "memory": 7}
    with pytest.raises(ValueError, match="the limit of time is 10 seconds at most"):
        lowered({"time": 10}, {"time": 11})
