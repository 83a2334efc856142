"""Files that say whom to trust, as hypothesis draws them: what is read is what was written, and nothing else trusts."""

import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chanlink import Identity, KnownPeers, PublicKey, Trust, TrustFormatError, UntrustedPeer, WrongPeer
from chanlink.security.keys import known_lines, trust_lines
from chanlink.security.keys.credential import HOST, USER, Credential
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.syntax import clean_line
from chanlink.transport.target import parse_target

from .credentials import CA

File = TypeVar("File")
NOW = 1_800_000_000
IDENTITIES = [Identity.generate() for _ in range(4)]
KEYS = [one.public_key for one in IDENTITIES]
CAS = [CA(), CA()]
ALL_KEYS = [*KEYS, *(ca.key for ca in CAS)]
"""Anybody's key may stand anywhere."""
PRINCIPALS = ["alice", "bob.b", "C-_3"]
HOSTS = ["web1.example", "web2.example", "db.other"]
few = settings(max_examples=40, deadline=None)

keys = st.sampled_from(ALL_KEYS)
comments = st.sampled_from(["", "alice", "alice@laptop", "two words", "SHA256:x", "a#b", 'a"b', "@revoked"])
gaps = st.sampled_from([" ", "  ", "\t", " \t "])
nothings = st.sampled_from(["", "   ", "# a comment", '\t# services="x" ssh-ed25519 AAAA', "\r"])
"""Lines that say nothing."""
UNREADABLE = [
    "ssh-ed25519",
    "ssh-ed25519 AAAA",
    "@revoked",
    "@trusted * {}",
    "{}\u202e",
    "|1|x|y {}",
    'services="a" names="b" {}',
    "db.other" + " " * 9_000 + "{}",
]
"""Lines that neither sort of file can have; a key is put into them."""


def with_comment(key: PublicKey, comment: str) -> PublicKey:
    return PublicKey(key.raw, comment)


# --- trust files --------------------------------------------------------------------------------


@st.composite
def trust_lines_of(draw: st.DrawFn) -> trust_lines.Line:
    """One that may stand in a trust file."""
    key = with_comment(draw(keys), draw(comments))
    sort = draw(st.sampled_from(["key", "authority", "revoked"]))
    if sort == "revoked":
        return trust_lines.Line(None, None, key, is_revoked=True)
    services = draw(st.none() | st.frozensets(st.sampled_from(["rexec", "ping", 'a"b', "c\\d", "ö:"]), min_size=1))
    if sort == "key":
        return trust_lines.Line(services, draw(st.none() | st.frozensets(st.sampled_from(HOSTS), min_size=1)), key)
    principals = draw(st.lists(st.sampled_from(PRINCIPALS), min_size=1, unique=True))
    krl = draw(st.sampled_from(["", "/krl", '~/a "b"']))
    return trust_lines.Line(services, None, key, draw(st.sampled_from(["org", "Else.", "x-1"])), tuple(principals), krl)


def options_of(line: trust_lines.Line) -> list[str]:
    values = {
        "services": ",".join(sorted(line.services or ())),
        "names": ",".join(sorted(line.names or ())),
        "issuer": line.issuer,
        "principals": ",".join(line.principals),
        "revoked": line.krl,
    }
    options = [name + '="' + value.replace('"', '\\"') + '"' for name, value in values.items() if value]
    return options + (["cert-authority"] if line.issuer else [])


def text_of(line: trust_lines.Line, options: Sequence[str], gap: str = " ") -> str:
    words = "@revoked" if line.is_revoked else ",".join(options)
    return f"{words}{gap if words else ''}{line.key}"


@st.composite
def written(draw: st.DrawFn, line: trust_lines.Line) -> str:
    """A way to write it."""
    before, after = draw(st.sampled_from(["", " ", "\t"])), draw(st.sampled_from(["", " ", "\r"]))
    return before + text_of(line, draw(st.permutations(options_of(line))), draw(gaps)) + after


def said_together(lines: Sequence[trust_lines.Line]) -> bool:
    """Whether they may be: read one by one, no two of them are about the same."""
    own = [line.key for line in lines if not line.is_revoked and not line.issuer]
    authorities = [line for line in lines if line.issuer]
    issuers = [line.issuer.casefold() for line in authorities]
    speaks = [(line.key, principal) for line in authorities for principal in line.principals]
    ends = {key.comment.rpartition("@")[2].casefold() for key in own if "@" in key.comment}
    once = all(len(set(some)) == len(some) for some in (own, issuers, speaks))
    return once and not {line.key for line in authorities} & {*own} and not ends & {*issuers}


UNREADABLE_TRUST = [
    'service="x" {}',
    "web1.example {}",
    "@cert-authority * {}",
    'cert-authority,principals="alice" {}',
    'cert-authority,issuer="a@b",principals="alice" {}',
    'issuer="org",principals="alice" {}',
    "ssh-rsa AAAA",
]


trusted = st.lists(trust_lines_of(), max_size=6).filter(said_together)


@st.composite
def trust_texts(draw: st.DrawFn) -> tuple[list[trust_lines.Line], list[str]]:
    """Lines, and a file with them and others that say nothing."""
    lines = draw(trusted)
    texts = [draw(written(line)) for line in lines]
    for _ in range(draw(st.integers(0, 2))):
        texts.insert(draw(st.integers(0, len(texts))), draw(nothings))
    return lines, texts


@few
@given(trust_texts())
def test_what_is_read_of_a_trust_file_is_what_was_written(drawn: tuple[list[trust_lines.Line], list[str]]) -> None:
    lines, texts = drawn
    read = trust_lines.parse("trust", texts)
    assert read == lines
    assert [line.key.comment for line in read] == [line.key.comment.strip() for line in lines]


@few
@given(trust_texts(), trust_lines_of().flatmap(written), st.randoms(use_true_random=False))
def test_what_may_not_be_said_twice_is_named_where_it_is_said_again(
    drawn: tuple[list[trust_lines.Line], list[str]], more: str, chance: Any
) -> None:
    lines, texts = drawn
    line = trust_lines.parse_line(clean_line(more))
    assert line is not None
    at = chance.randint(0, len(texts))
    texts.insert(at, more)
    if said_together([*lines, line]):
        assert len(trust_lines.parse("trust", texts)) == len(lines) + 1
    else:
        with pytest.raises(TrustFormatError, match=r"\Atrust:[0-9]+: ") as caught:
            trust_lines.parse("trust", texts)
        assert int(str(caught.value).split(":")[1]) >= at + 1  # what stands before it is a good file


@few
@given(trust_texts(), st.sampled_from([*UNREADABLE, *UNREADABLE_TRUST]), keys, st.randoms(use_true_random=False))
def test_a_line_of_a_trust_file_that_is_not_understood_is_named_and_nobody_is_trusted(
    drawn: tuple[list[trust_lines.Line], list[str]], wrong: str, key: PublicKey, chance: Any
) -> None:
    texts = drawn[1]
    at = chance.randint(0, len(texts))
    texts.insert(at, wrong.format(key))
    with pytest.raises(TrustFormatError, match=rf"trust:{at + 1}: "):
        of_file("trust", texts, Trust.load)


@few
@given(trusted, trust_lines_of(), st.randoms(use_true_random=False))
def test_no_line_of_a_trust_file_makes_another_one_trusted(
    lines: list[trust_lines.Line], more: trust_lines.Line, chance: Any
) -> None:
    assume(said_together([*lines, more]))
    texts = [plain(line) for line in lines]
    before = of_file("trust", texts, Trust.load)
    texts.insert(chance.randint(0, len(texts)), plain(more))
    after = of_file("trust", texts, Trust.load)
    for presented in whoever_comes(USER, PRINCIPALS):
        was, now = verdict(before, presented), verdict(after, presented)
        credential = presented.credential
        if more.is_revoked and more.key == presented.key:
            assert now is None
        elif more.is_revoked and credential is not None and more.key == credential.ca:
            assert now in (None, was)  # the key's own line decides, whoever has vouched for it
        elif more.issuer and credential is not None and more.key == credential.ca and was is None:
            assert now in (None, (f"{credential.principals[0]}@{more.issuer}", more.services))
        elif more.issuer or more.is_revoked or more.key != presented.key:
            assert now == was


@few
@given(trusted, st.randoms(use_true_random=False))
def test_the_order_of_the_lines_of_a_trust_file_says_nothing(lines: list[trust_lines.Line], chance: Any) -> None:
    texts = [plain(line) for line in lines]
    before = of_file("trust", texts, Trust.load)
    chance.shuffle(texts)
    after = of_file("trust", texts, Trust.load)
    for presented in whoever_comes(USER, PRINCIPALS):
        assert verdict(before, presented) == verdict(after, presented)


def plain(line: trust_lines.Line) -> str:
    """In one way; without a list of what was revoked, since none is there."""
    return text_of(line, options_of(line._replace(krl="")))


def verdict(trust: Trust, presented: Presented) -> tuple[str, object] | None:
    """The name and services of who shows this."""
    try:
        grant = trust.admit(presented, NOW)
    except UntrustedPeer:
        return None
    return grant.name, grant.services


# --- known peers --------------------------------------------------------------------------------

patterns = st.lists(
    st.sampled_from([*HOSTS, "*.example", "*", "!web2.example", "db.*", "[web1.example]:9323", "[db.other]:1"]),
    min_size=1,
    max_size=3,
    unique=True,
)
UNREADABLE_KNOWN = ["@cert-authority {}", "a,,b {}", "! {}", "a|b {}", "@Revoked * {}", 'cert-authority,issuer="a" {}']
ADDRESSES = [f"tcp://{host}:{port}" for host in HOSTS for port in (9323, 1)]


@st.composite
def known_lines_of(draw: st.DrawFn) -> known_lines.Line:
    marker = draw(st.sampled_from(["", "", "revoked", "authority"]))
    key = with_comment(draw(keys), draw(comments))
    return known_lines.Line(tuple(draw(patterns)), key, marker == "revoked", marker == "authority")


def known_text(line: known_lines.Line, gap: str = " ") -> str:
    marker = "@revoked" if line.revoked else "@cert-authority" if line.authority else ""
    return f"{marker}{gap if marker else ''}{','.join(line.patterns)}{gap}{line.key}"


known = st.lists(known_lines_of(), max_size=6)


@few
@given(known, st.lists(st.tuples(gaps, nothings), min_size=6, max_size=6))
def test_what_is_read_of_known_peers_is_what_was_written(
    lines: list[known_lines.Line], ways: list[tuple[str, str]]
) -> None:
    texts = [
        text for line, (gap, nothing) in zip(lines, ways, strict=False) for text in (nothing, known_text(line, gap))
    ]
    read = known_lines.parse(Path("known"), "\n".join(texts).encode())
    assert list(read) == lines
    assert [line.key.comment for line in read] == [line.key.comment.strip() for line in lines]


@few
@given(known, st.sampled_from([*UNREADABLE, *UNREADABLE_KNOWN]), keys, st.randoms(use_true_random=False))
def test_a_line_of_known_peers_that_is_not_understood_is_named_and_nobody_is_known(
    lines: list[known_lines.Line], wrong: str, key: PublicKey, chance: Any
) -> None:
    texts = [known_text(line) for line in lines]
    at = chance.randint(0, len(texts))
    texts.insert(at, wrong.format(key))
    with pytest.raises(TrustFormatError, match=rf"known:{at + 1}: "):
        of_file("known", texts, KnownPeers.load)


@few
@given(known, known_lines_of(), st.randoms(use_true_random=False))
def test_no_line_of_known_peers_makes_another_server_trusted(
    lines: list[known_lines.Line], more: known_lines.Line, chance: Any
) -> None:
    texts = [known_text(line) for line in lines]
    before = of_file("known", texts, KnownPeers.load)
    texts.insert(chance.randint(0, len(texts)), known_text(more))
    after = of_file("known", texts, KnownPeers.load)
    for address in ADDRESSES:
        target: Any = parse_target(address)
        names = known_lines.host_names(target) if more.authority else known_lines.names_of(target)
        for presented in whoever_comes(HOST, HOSTS):
            if not is_known(after, target, presented) or is_known(before, target, presented):
                continue
            assert not more.revoked
            assert more.covers(names)
            credential = presented.credential
            assert more.key == (credential.ca if more.authority and credential else presented.key)


@few
@given(known, st.sampled_from(KEYS), st.sampled_from(KEYS))
def test_a_new_key_is_known_where_the_old_one_was_and_that_nowhere(
    lines: list[known_lines.Line], old: PublicKey, new: PublicKey
) -> None:
    assume(old != new)
    texts = [known_text(line) for line in lines]
    before = of_file("known", texts, KnownPeers.load)
    changed = known_lines.following(Path("known"), "\n".join(texts).encode(), old, new)
    after = of_file("known", changed.decode().split("\n"), KnownPeers.load)
    is_revoked = any(line.revoked and line.key == new for line in lines)
    for target in map(parse_target, ADDRESSES):
        assert not is_known(after, target, Presented(old))
        if is_known(before, target, Presented(old)) and not is_revoked:
            assert is_known(after, target, Presented(new))
        for other in ALL_KEYS:
            if other not in (old, new):
                assert is_known(after, target, Presented(other)) == is_known(before, target, Presented(other))


def is_known(peers: KnownPeers, target: Any, presented: Presented) -> bool:
    try:
        return peers._admit(target, presented, NOW) is not None
    except (UntrustedPeer, WrongPeer):
        return False


# --- who comes, and files -----------------------------------------------------------------------


@cache
def credentials(type: int, principals: tuple[str, ...]) -> list[Credential]:
    return [ca.issue(key, principal, type=type) for ca in CAS for key in ALL_KEYS for principal in principals]


def whoever_comes(type: int, principals: Sequence[str]) -> list[Presented]:
    """Each key by itself, and with what each authority can say of it."""
    vouched = [Presented(one.key, one) for one in credentials(type, tuple(principals))]
    return [*map(Presented, ALL_KEYS), *vouched]


def of_file(name: str, texts: Sequence[str], load: Callable[[Path], File]) -> File:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_text("".join(f"{text}\n" for text in texts), newline="")
        return load(file)
