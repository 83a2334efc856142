"""The lines of a file of known peers; which servers they mean, `test_known_peers.py` has."""

from pathlib import Path

import pytest

from chanlink import Identity, PublicKey, TrustFormatError
from chanlink.security.keys.known_lines import Line, following, host_names, names_of, parse, parse_line
from chanlink.transport.address import Address, Name

OLD, NEW, OTHER = (Identity.generate(name).public_key for name in ("old", "new", "other"))
FILE = Path("known")


def test_a_marker_says_what_a_key_is() -> None:
    assert parse_line(f"a,b {OLD}") == Line(("a", "b"), OLD, revoked=False, authority=False)
    assert parse_line(f"@revoked * {OLD}") == Line(("*",), OLD, revoked=True, authority=False)
    assert parse_line(f"@cert-authority *.a {OLD}") == Line(("*.a",), OLD, revoked=False, authority=True)


@pytest.mark.parametrize("text", ["", "@cert-authority * ssh-rsa AAAA ca", "a ssh-rsa AAAA", "@revoked * ssh-rsa AAAA"])
def test_a_line_without_a_key_of_ours_says_nothing(text: str) -> None:
    assert parse_line(text) is None


@pytest.mark.parametrize("text", ["@cert-authority *.a", f"@cert-authority {OLD}", f"@cert-authorities * {OLD}"])
def test_a_line_of_an_authority_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(TrustFormatError, match="known:2: "):
        parse(FILE, f"\n{text}\n".encode())


@pytest.mark.parametrize("options", ['services="x"', 'cert-authority,issuer="org",principals="alice"'])
def test_a_line_of_a_trust_file_is_none_of_known_peers(options: str) -> None:
    with pytest.raises(TrustFormatError, match=r"known:1: .* is not the name of a server"):
        parse(FILE, f"{options} {OLD}".encode())


def test_an_authority_is_asked_for_a_host_at_any_port() -> None:
    assert names_of(Address("Build.example", 1)) == ("[build.example]:1",)
    assert host_names(Address("Build.example", 1)) == ("[build.example]:1", "build.example")
    assert host_names(Address("build.example", 9323)) == ("[build.example]:9323", "build.example")
    assert names_of(Name("web1")) == ("chanlink://web1",)


def test_a_new_key_has_all_lines_of_the_old_one_and_nothing_else_changes() -> None:
    text = (
        f"# ours\r\n[a]:1,b\tssh-ed25519  {str(OLD).split()[1]} web server\nchanlink://web1 {OLD}\n"
        f"b {OTHER}\n@cert-authority * {OLD}\nb ssh-rsa AAAA"
    )
    changed = following(FILE, text.encode(), OLD, NEW).decode()
    assert changed == (
        f"# ours\r\n[a]:1,b\tssh-ed25519  {str(NEW).split()[1]} web server\n"
        f"chanlink://web1 {PublicKey(NEW.raw, 'old')}\nb {OTHER}\n@cert-authority * {OLD}\nb ssh-rsa AAAA\n"
        f"@revoked * {PublicKey(OLD.raw)}\n"
    )
    assert [line.revoked for line in parse(FILE, changed.encode())] == [False, False, False, False, True]
