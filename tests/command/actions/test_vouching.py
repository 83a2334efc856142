"""What is said of a key besides what it is: found beside its file, and shown to people and programs."""

import json
from pathlib import Path

import pytest

from chanlink import Identity, KeyFormatError
from chanlink.command.actions.vouching import (
    Said,
    beside,
    credential_in,
    successor_file,
    successor_of,
    write_successor,
)
from chanlink.command.problems import Problem
from chanlink.security.keys.credential import HOST, Credential
from tests.security.keys.credentials import CA, save

ALICE = Identity.generate("alice")
KEY = ALICE.public_key
ORG = CA()
NOW = 1_800_000_000


def shown(credential: Credential, now: int = NOW) -> str:
    return "\n".join(Said((credential,)).lines(now))


def test_nothing_lies_beside_a_key_alone(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "alice")
    assert beside(str(tmp_path / "alice"), KEY) == Said()
    assert Said().lines(NOW) == []
    assert Said().to_map(NOW) == {"credentials": [], "successor": None}


@pytest.mark.anyio
async def test_what_lies_beside_a_key_is_found_by_either_half(tmp_path: Path) -> None:
    credential = ORG.issue(KEY)
    save(credential, tmp_path / "alice")
    successor = await successor_of(Identity.generate(), KEY)
    write_successor(successor_file(str(tmp_path / "alice.pub")), successor)
    for name in ("alice", "alice.pub"):
        assert beside(str(tmp_path / name), KEY) == Said((credential,), successor)
        with pytest.raises(Problem, match="exists"):
            successor_file(str(tmp_path / name))
    with pytest.raises(KeyFormatError, match="exists"):
        write_successor(str(tmp_path / "alice-successor"), successor)
    assert credential_in(str(tmp_path / "alice-cert.pub")) == credential
    assert credential_in(str(tmp_path / "alice-successor")) is None


def test_what_is_of_another_key_is_a_problem(tmp_path: Path) -> None:
    save(ORG.issue(KEY), tmp_path / "bob")
    with pytest.raises(Problem, match="it is of the key"):
        beside(str(tmp_path / "bob"), Identity.generate().public_key)


@pytest.mark.parametrize(
    ("after", "before", "words"),
    [
        (0, 2**64 - 1, "for ever"),
        (NOW, NOW + 1, "until 2027-01-1"),
        (NOW + 1, NOW + 2, "not valid before 2027-01-1"),
        (0, NOW, "ended at 2027-01-1"),
        (0, 2**64 - 2, "until the end of time"),
    ],
)
def test_people_read_when_a_credential_holds(after: int, before: int, words: str) -> None:
    credential = ORG.issue(KEY, after=after, before=before)
    assert f"by {ORG.key.fingerprint}, {words}" in shown(credential)
    told = Said((credential,)).to_map(NOW)["credentials"][0]
    assert told["valid"] == credential.holds(NOW)
    json.dumps(told)


def test_people_read_whose_it_is_and_what_it_may_do() -> None:
    text = shown(ORG.issue(KEY, "web1.example", type=HOST, source_address="10.0.0.0/8", options={"x": b""}))
    assert "credential of a host: web1.example; 'of a test', serial 1" in text
    assert "only source-address: 10.0.0.0/8" in text
    assert "only x: which nobody here enforces" in text
    assert "with permit-X11-forwarding, permit-agent-forwarding" in text
    assert "with" not in shown(ORG.issue(KEY, extensions=()))


@pytest.mark.anyio
async def test_people_read_whose_place_a_key_takes_and_for_how_long() -> None:
    old = Identity.generate()
    said = Said((), await successor_of(old, KEY))
    assert said.successor is not None
    (now,) = said.lines(said.successor.time)
    (later,) = said.lines(said.successor.time + 8_000_000)
    assert f"in the place of {old.public_key.fingerprint}" in now
    assert "followed until" in now
    assert "not followed now" in later
    assert said.to_map(said.successor.time)["successor"]["valid"]
