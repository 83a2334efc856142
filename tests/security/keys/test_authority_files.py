"""The files by which a listener knows whom to let in: trust, and lists that ssh-keygen has made."""

import logging
from pathlib import Path

import pytest

from chanlink import Identity, Trust, TrustFormatError
from chanlink.security.keys.authority_files import AuthorityFiles, News

from .credentials import CA
from .programs import needs_ssh_keygen, ssh_keygen

ORG = CA("org")
ALICE, BOB, MALLORY = (Identity.generate(name).public_key for name in ("alice", "bob", "mallory"))


def write(file: Path, *lines: object) -> Path:
    new = file.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.replace(file)
    return file


def line(krl: Path, issuer: str = "example", ca: CA = ORG) -> str:
    return f'cert-authority,issuer="{issuer}",principals="alice,bob",revoked="{krl}" {ca.key}'


def revoke(file: Path, *keys: object) -> None:
    """Have ssh-keygen make a list of these keys."""
    write(file.with_suffix(".keys"), *keys)
    ssh_keygen("-k", "-q", "-f", file, file.with_suffix(".keys"))


def news(files: AuthorityFiles) -> News | None:
    """What two looks have found."""
    return files.look() or files.look()


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    return tmp_path / "trust"


def test_a_trust_without_files_has_nothing_to_look_at() -> None:
    files = AuthorityFiles(Trust.of(ALICE), None)
    assert not files
    assert news(files) is None


def test_a_trust_file_that_changes_is_news_and_one_that_does_not_is_none(trust: Path) -> None:
    files = AuthorityFiles(Trust.load(write(trust, ALICE)), None)
    assert files
    assert news(files) is None
    for lines in ([BOB], [BOB, f"@revoked {ALICE}"], [f'cert-authority,issuer="a",principals="b" {ORG.key}']):
        write(trust, *lines)
        found = news(files)
        assert found is not None
        assert found.trust is not None
        assert (found.trust.grants, found.trust.revoked) == (Trust.load(trust).grants, Trust.load(trust).revoked)
        assert found.trust.issuers.all == Trust.load(trust).issuers.all
        assert news(files) is None


@needs_ssh_keygen
def test_lists_are_read_at_once_and_again_when_they_have_changed(trust: Path, tmp_path: Path) -> None:
    krl, for_all = tmp_path / "krl", tmp_path / "all"
    revoke(krl, MALLORY)
    revoke(for_all, MALLORY)
    files = AuthorityFiles(Trust.load(write(trust, line(krl))), for_all)
    assert files.revocations.all is not None
    assert [one.revokes(MALLORY) for one in (files.revocations.all, files.revocations.by_file[str(krl)])] == [True] * 2
    assert news(files) is None  # they say what they have said
    revoke(krl, MALLORY, ALICE)
    found = news(files)
    assert found is not None
    assert found.trust is None
    assert found.revocations.by_file[str(krl)].revokes(ALICE)
    assert found.revocations.all is not None
    assert not found.revocations.all.revokes(ALICE)
    revoke(for_all, ALICE)
    found = news(files)
    assert found is not None
    assert found.revocations is files.revocations
    assert found.revocations.all is not None
    assert found.revocations.all.revokes(ALICE)
    assert not found.revocations.all.revokes(MALLORY)


@pytest.mark.parametrize("text", [None, "nonsense", "SSHKRL\n\0x"], ids=["missing", "nonsense", "cut"])
@pytest.mark.parametrize("which", ["of a line", "for all"])
def test_a_list_that_cannot_be_read_at_the_start_is_an_error(which: str, text: str | None, trust: Path) -> None:
    krl = trust.with_name("krl")
    if text is not None:
        krl.write_text(text)
    write(trust, line(krl) if which == "of a line" else ALICE)
    with pytest.raises(TrustFormatError, match=f"^{krl}: "):
        AuthorityFiles(Trust.load(trust), krl if which == "for all" else None)


def test_later_the_last_good_list_stays_in_force_and_that_is_said_once(
    trust: Path, caplog: pytest.LogCaptureFixture
) -> None:
    krl = write(trust.with_name("krl"), ALICE)
    files = AuthorityFiles(Trust.load(write(trust, line(krl))), krl)
    assert news(files) is None
    krl.unlink()
    for _ in range(4):
        assert files.look() is None
    assert files.revocations.all is not None
    assert files.revocations.all.revokes(ALICE)
    assert files.revocations.by_file[str(krl)].revokes(ALICE)
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert texts == [f"{krl}: No such file or directory; what this file said before stays in force"] * 2  # for each use


def test_a_line_that_names_a_new_list_has_it_read(trust: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = write(trust.with_name("one"), ALICE), trust.with_name("other")
    files = AuthorityFiles(Trust.load(write(trust, line(one))), None)
    second = CA("second")
    write(trust, line(one), line(other, "second", second))
    found = news(files)
    assert found is not None
    assert found.trust is not None
    assert found.revocations.by_file.keys() == {str(one)}  # so that nobody is let in by the other line
    assert f"{other}: No such file or directory; nobody is let in whose authority revokes by this file" in caplog.text
    write(other, BOB)
    found = news(files)
    assert found is not None
    assert found.revocations.by_file[str(other)].revokes(BOB)
    write(trust, line(other))
    found = news(files)
    assert found is not None
    assert found.revocations.by_file.keys() == {str(other)}


def test_thousands_of_lines_that_name_one_list_read_it_once(trust: Path) -> None:
    krl = write(trust.with_name("krl"), ALICE)
    write(trust, *(line(krl, f"i{number}", CA()) for number in range(2_000)))
    files = AuthorityFiles(Trust.load(trust), None)
    assert files.revocations.by_file.keys() == {str(krl)}
