"""An old identity says which new one takes its place."""

import base64
from pathlib import Path

import pytest

from chanlink import Identity
from chanlink.errors import KeyFormatError
from chanlink.security.keys.successor import LIFE, NAMESPACE, SSHSIG_MAX, Successor, signed_message

from .programs import needs_ssh_keygen, ssh_keygen

OLD, NEW, OTHER = (Identity.generate(name) for name in ("old", "new", "other"))
NOW = 1_700_000_000


async def made() -> Successor:
    return await Successor.made(OLD, NEW.public_key, NOW)


@pytest.mark.anyio
async def test_what_the_old_key_has_said_is_read() -> None:
    one = await made()
    assert (one.old, one.new, one.time) == (OLD.public_key, NEW.public_key, NOW)
    assert Successor.parse(NOW, one.sshsig, NEW.public_key) == one


@pytest.mark.anyio
async def test_it_holds_for_ninety_days_and_five_minutes_before() -> None:
    one = await made()
    times = NOW - 301, NOW - 300, NOW, NOW + LIFE, NOW + LIFE + 1
    assert [one.holds(now) for now in times] == [False, True, True, True, False]
    assert LIFE == 90 * 24 * 3600


@needs_ssh_keygen
@pytest.mark.anyio
async def test_ssh_keygen_verifies_it(tmp_path: Path) -> None:
    one = await made()
    text = base64.encodebytes(one.sshsig).decode()
    (tmp_path / "signature").write_text(f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n")
    (tmp_path / "signers").write_text(f"old {OLD.public_key}\n")
    message = signed_message(NEW.public_key, NOW)
    assert len(message) == 41
    words = "-Y", "verify", "-f", tmp_path / "signers", "-I", "old", "-n", NAMESPACE.decode()
    ssh_keygen(*words, "-s", tmp_path / "signature", input=message)
    assert ssh_keygen(*words, "-s", tmp_path / "signature", input=message[:-1] + b"x", check=False).returncode


# --- what is none -------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_it_is_of_one_key_and_one_time() -> None:
    one = await made()
    for time, new in ((NOW + 1, NEW), (NOW, OTHER)):
        with pytest.raises(KeyFormatError, match="signature is wrong, or it is for another key or time"):
            Successor.parse(time, one.sshsig, new.public_key)


@pytest.mark.anyio
async def test_a_key_does_not_take_its_own_place() -> None:
    with pytest.raises(KeyFormatError, match="its own place"):
        await Successor.made(OLD, OLD.public_key, NOW)


@pytest.mark.anyio
async def test_a_signer_with_another_key_is_found_out() -> None:
    with pytest.raises(KeyFormatError, match="signature is wrong"):
        await Successor.made(Identity(OLD.public_key, OTHER.sign), NEW.public_key, NOW)


@pytest.mark.anyio
async def test_any_bit_that_changes_makes_it_worthless() -> None:
    one = await made()
    for at in range(len(one.sshsig)):
        changed = one.sshsig[:at] + bytes([one.sshsig[at] ^ 1]) + one.sshsig[at + 1 :]
        with pytest.raises(KeyFormatError):
            Successor.parse(NOW, changed, NEW.public_key)


@pytest.mark.parametrize("time", [-1, 2**64])
def test_a_time_that_does_not_fit_is_refused(time: int) -> None:
    with pytest.raises(KeyFormatError, match="of 64 bits"):
        Successor.parse(time, b"", NEW.public_key)


def test_a_signature_that_is_too_long_is_not_read() -> None:
    with pytest.raises(KeyFormatError, match="1024 are the most"):
        Successor.parse(NOW, bytes(SSHSIG_MAX + 1), NEW.public_key)


# --- the file -----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_its_line_is_read_again(tmp_path: Path) -> None:
    one = await made()
    (tmp_path / "key-successor").write_text(f"{one}\n")
    assert Successor.load(tmp_path / "key-successor") == one
    assert str(one).startswith(f"chanlink-successor-v1 {NOW} U1NIU0lH")
    assert str(one).endswith(str(NEW.public_key))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ((0, "chanlink-successor-v2"), "not of the form"),
        ((1, "now"), "seconds since 1970"),
        ((1, "1" * 21), "seconds since 1970"),
        ((1, "99999999999999999999"), "of 64 bits"),
        ((1, "²"), "seconds since 1970"),
        ((2, "AAAA"), "not SSHSIG|cut short"),
        ((2, "A"), "not base64"),
        ((3, ""), "not of the form 'ssh-ed25519"),
        ((3, str(OTHER.public_key)), "for another key"),
    ],
)
async def test_a_line_that_is_something_else_is_refused(changes: tuple[int, str], problem: str, tmp_path: Path) -> None:
    words = str(await made()).split(" ", maxsplit=3)
    words[changes[0]] = changes[1]
    (tmp_path / "x-successor").write_text(" ".join(words))
    with pytest.raises(KeyFormatError, match=rf"x-successor: .*({problem})"):
        Successor.load(tmp_path / "x-successor")
