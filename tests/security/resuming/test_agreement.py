"""What a client asks for, what a listener grants of it, and that both read the same in that."""

import msgpack
import pytest

from chanlink.security.payloads import WELCOMED, read
from chanlink.security.rekey import Secrets
from chanlink.security.resuming.agreement import Agreement, Terms, to_milliseconds
from chanlink.security.resuming.proofs import secret_of

EXPORT = Secrets(b"", b"", b"\4" * 32, b"\5" * 32).export


@pytest.mark.parametrize(
    ("asked", "most", "granted"),
    [(30.0, 60.0, 30.0), (90.0, 60.0, 60.0), (60, 60, 60.0), (0.0001, 60.0, 0.001), (1e9, 4e6, 4e6), (2.5, 7.0, 2.5)],
)
def test_a_listener_grants_the_smaller_time_in_whole_milliseconds(asked: float, most: float, granted: float) -> None:
    agreement = Terms.made(most).grant(to_milliseconds(asked), EXPORT)
    assert agreement is not None
    assert agreement.seconds == granted


def test_a_listener_that_allows_no_time_grants_nothing() -> None:
    assert Terms.made(0).grant(60_000, EXPORT) is None


@pytest.mark.parametrize("shared", [False, True])
def test_both_sides_have_the_same_agreement(shared: bool) -> None:
    terms = Terms.made(60.0, shared=shared)
    ours = terms.grant(to_milliseconds(2.5), EXPORT)
    assert ours is not None
    welcome = msgpack.packb({"code": "", "you": bytes(32), "instance": terms.instance, "resumable": ours.to_map()})
    assert Agreement.read(read(welcome, WELCOMED), EXPORT, 2.5) == ours
    assert (ours.secret, ours.shared, ours.instance) == (secret_of(EXPORT), shared, terms.instance)


def test_each_listener_and_each_session_has_a_name_of_its_own() -> None:
    listeners = [Terms.made(60.0) for _ in range(3)]
    names = {terms.instance for terms in listeners}
    names |= {agreement.session for terms in listeners if (agreement := terms.grant(1_000, EXPORT))}
    assert len(names) == 6
    assert {len(name) for name in names} == {16}


def test_a_server_that_grants_more_than_was_asked_for_is_held_to_what_was() -> None:
    granted = {"session": bytes(16), "milliseconds": 2**32 - 1, "shared": False}
    agreement = Agreement.read({"instance": bytes(16), "resumable": granted}, EXPORT, 5.0)
    assert agreement is not None
    assert agreement.seconds == 5.0


@pytest.mark.parametrize(
    "welcome",
    [{}, {"instance": bytes(16)}, {"resumable": {"session": bytes(16), "milliseconds": 5, "shared": False}}],
    ids=["nothing", "no grant", "no instance"],
)
def test_a_welcome_without_all_of_it_grants_nothing(welcome: dict[str, object]) -> None:
    assert Agreement.read(welcome, EXPORT, 5.0) is None


def test_nothing_that_is_printed_shows_the_secret() -> None:
    agreement = Agreement(b"\2" * 16, b"\3" * 16, b"\4" * 32, 60.0, False)
    assert repr(agreement) == f"<Agreement on {'02' * 16}>"
