"""Private keys that have a passphrase."""

import base64
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

from chanlink.errors import KeyFormatError
from chanlink.security.keys import openssh
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from tests.patience import PATIENCE

from .programs import needs_ssh_keygen, ssh_keygen

ALICE = Identity.generate("alice@laptop")
CIPHERS = [
    *(f"aes{bits}-{mode}" for bits in (128, 192, 256) for mode in ("ctr", "cbc")),
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key with the passphrase "secret"."""
    path = tmp_path_factory.mktemp("locked") / "key"
    ssh_keygen("-q", "-t", "ed25519", "-N", "secret", "-a", "1", "-C", "alice@laptop", "-f", path)
    return path


@needs_ssh_keygen
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("comment", ["", "alice@laptop"])
def test_key_with_a_passphrase_is_loaded(cipher: str, comment: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    ssh_keygen("-q", "-t", "ed25519", "-N", "größer", "-Z", cipher, "-a", "2", "-C", comment, "-f", path)
    for passphrase in ("größer", "größer".encode()):
        identity = Identity.load(path, passphrase)
        assert identity.public_key == PublicKey.load(tmp_path / "key.pub")
        assert identity.public_key.comment == comment
        assert identity.public_key.verify(b"data", anyio.run(identity.sign, b"data"))
    with pytest.raises(KeyFormatError, match="key: the passphrase is wrong") as caught:
        Identity.load(path, "grösser")
    assert caught.value.code == "passphrase-wrong"


@needs_ssh_keygen
@pytest.mark.anyio
async def test_key_with_a_passphrase_is_loaded_in_a_worker_thread_while_others_work(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    parse = openssh.parse_private_key

    def parse_there(*args: bytes) -> tuple[bytes, PublicKey]:
        threads.append(threading.current_thread())
        return parse(*args)

    monkeypatch.setattr("chanlink.security.keys.openssh.parse_private_key", parse_there)
    assert (await Identity.aload(locked, "secret")).public_key == PublicKey.load(f"{locked}.pub")
    assert threads
    assert threading.current_thread() not in threads


@needs_ssh_keygen
@pytest.mark.parametrize("passphrase", [None, "", b""])
def test_missing_passphrase_is_asked_for(passphrase: str | bytes | None, locked: Path) -> None:
    with pytest.raises(
        KeyFormatError, match=r"key: the key has a passphrase; .* passphrase=\.\.\., or use ssh-agent"
    ) as caught:
        Identity.load(locked, passphrase)
    assert caught.value.code == "passphrase-needed"


@needs_ssh_keygen
def test_locked_key_that_others_can_read_is_refused(locked: Path, tmp_path: Path) -> None:
    shutil.copy(locked, tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(KeyFormatError, match="chmod 600"):
        Identity.load(tmp_path / "key", "secret")


@needs_ssh_keygen
@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "3des-cbc"])
def test_cipher_that_is_not_known_is_refused_with_advice(cipher: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    ssh_keygen("-q", "-t", "ed25519", "-N", "secret", "-Z", cipher, "-a", "1", "-f", path)
    with pytest.raises(KeyFormatError, match=f"'{cipher}'.*ssh-keygen -p -Z aes256-ctr -f FILE"):
        Identity.load(path, "secret")
    ssh_keygen("-q", "-p", "-P", "secret", "-N", "secret", "-Z", "aes256-ctr", "-a", "1", "-f", path)
    assert Identity.load(path, "secret").public_key == PublicKey.load(f"{path}.pub")


def body_of(path: Path) -> bytes:
    return base64.b64decode("".join(path.read_text().splitlines()[1:-1]))


def with_body(path: Path, body: bytes) -> Path:
    lines = [
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        base64.b64encode(body).decode(),
        "-----END OPENSSH PRIVATE KEY-----",
    ]
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


@needs_ssh_keygen
def test_rounds_have_a_bound_before_any_is_done(locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bcrypt

    body = body_of(locked)
    at = body.index(number(24) + number(16)) + 8 + 16
    assert body[at : at + 4] == number(1)
    monkeypatch.setattr(bcrypt, "kdf", pytest.fail)
    for rounds in (0, 1_025, 2**32 - 1):
        changed = with_body(tmp_path / "key", body[:at] + number(rounds) + body[at + 4 :])
        with pytest.raises(KeyFormatError, match=f"key: {rounds} rounds of bcrypt, and at most 1024"):
            Identity.load(changed, "secret")
    salt = body.replace(number(24) + number(16), number(23) + number(15)).replace(
        body[at - 1 : at] + number(1), number(1)
    )
    with pytest.raises(KeyFormatError, match="salt has not 16 bytes"):
        Identity.load(with_body(tmp_path / "key", salt), "secret")


@needs_ssh_keygen
def test_every_cut_of_a_locked_key_and_changed_bits_are_refused(locked: Path, tmp_path: Path) -> None:
    body = body_of(locked)
    for length in range(len(body)):
        with pytest.raises(KeyFormatError):
            Identity.load(with_body(tmp_path / "key", body[:length]), "secret")
    key = PublicKey.load(f"{locked}.pub")
    for at in range(0, len(body), 3):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        try:
            loaded = Identity.load(with_body(tmp_path / "key", changed), "secret")
        except KeyFormatError:
            continue
        assert loaded.public_key == key  # a bit of the comment, which CTR does not protect


@needs_ssh_keygen
@pytest.mark.parametrize("cipher", CIPHERS)
def test_secret_half_that_is_not_whole_blocks_is_refused(cipher: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    ssh_keygen("-q", "-t", "ed25519", "-N", "secret", "-Z", cipher, "-a", "1", "-f", path)
    body = body_of(path)
    tag = 16 if "gcm" in cipher else 0
    end = len(body) - tag
    (size,) = [size for size in range(16, 512, 16) if body[end - size - 4 : end - size] == number(size)]
    for length in (0, 1, size - 1, size + 1):
        private = body[end - size : end].ljust(size + 1)[:length]
        changed = body[: end - size - 4] + number(length) + private + body[end:]
        with pytest.raises(KeyFormatError, match="not whole blocks"):
            Identity.load(with_body(path, changed), "secret")


@needs_ssh_keygen
def test_without_the_extra_there_is_one_line_that_says_what_to_install(locked: Path) -> None:
    """In a process of its own, in which neither package can be imported."""
    script = (
        "import sys\n"
        "sys.modules['bcrypt'] = sys.modules['cryptography'] = None\n"
        "import chanlink\n"
        f"try: chanlink.Identity.load({str(locked)!r}, 'secret')\n"
        "except chanlink.ConfigError as exc: print(exc)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert run.stdout == "keys with a passphrase need more: pip install 'chanlink[ssh]', or use ssh-agent\n"


def test_the_extra_is_not_imported_without_need(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "key")
    script = (
        "import sys, chanlink\n"
        f"chanlink.Identity.load({str(tmp_path / 'key')!r}, 'secret')\n"
        "print({'bcrypt', 'cryptography'} & set(sys.modules))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert run.stdout == "set()\n"


@needs_ssh_keygen
def test_nothing_of_a_passphrase_or_seed_is_shown(locked: Path) -> None:
    identity = Identity.load(locked, "secret")
    seed = openssh.parse_private_key(locked.read_bytes(), b"secret")[0]
    with pytest.raises(KeyFormatError) as caught:
        Identity.load(locked, "another secret")
    shown = repr(identity) + repr(identity._signer) + str(caught.value) + repr(caught.value)
    for secret in ("secret", seed.hex(), repr(seed)[2:-1]):
        assert secret not in shown
