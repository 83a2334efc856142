"""What is said of a key besides what it is: credentials, and whose place it takes."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from chanlink import Identity, KeyFormatError, PublicKey
from chanlink.command.problems import Problem
from chanlink.security.keys import files
from chanlink.security.keys.credential import CREDENTIAL_TYPE, HOST, Credential
from chanlink.security.keys.openssh import KEY_FILE_MAX
from chanlink.security.keys.successor import LIFE, Successor

FOREVER = 2**64 - 1
"""The time of a credential that does not end."""


class Said(NamedTuple):
    """What is said of a key."""

    credentials: tuple[Credential, ...] = ()
    successor: Successor | None = None

    def lines(self, now: int) -> list[str]:
        """For people, at this time (seconds since 1970)."""
        found = [line for credential in self.credentials for line in _lines_of(credential, now)]
        if self.successor is not None:
            until = self.successor.time + LIFE
            how = f"followed until {_date(until)}" if self.successor.holds(now) else "not followed now"
            found.append(f"in the place of {self.successor.old.fingerprint}, since {_date(self.successor.time)}: {how}")
        return found

    def to_map(self, now: int) -> dict[str, Any]:
        return {
            "credentials": [_map_of(credential, now) for credential in self.credentials],
            "successor": None if self.successor is None else _map_of_successor(self.successor, now),
        }


# --- reading ------------------------------------------------------------------------------------


def credential_in(file: str) -> Credential | None:
    """The credential that a file is; None for one that is a key. Raises `KeyFormatError`."""
    is_one = files.read_limited(file, KEY_FILE_MAX).startswith(CREDENTIAL_TYPE.encode())
    return Credential.load(file) if is_one else None


def beside(file: str, key: PublicKey) -> Said:
    """What lies beside the file of a key, or of its public half. Raises `KeyFormatError` and `Problem`."""
    start = file.removesuffix(".pub")
    return Said(
        tuple(_if_there(f"{start}-cert.pub", Credential.load, "key", key)),
        next(iter(_if_there(f"{start}-successor", Successor.load, "new", key)), None),
    )


def _if_there(file: str, load: Any, name: str, key: PublicKey) -> list[Any]:
    if not files.expand(file).exists():
        return []
    found = load(file)
    if getattr(found, name) != key:
        raise Problem(f"{file}: it is of the key {getattr(found, name).fingerprint}, not of {key.fingerprint}")
    return [found]


def successor_file(new: str) -> str:
    """The file beside a new key that says whose place it takes. Raises `Problem` if it is there."""
    file = f"{new.removesuffix('.pub')}-successor"
    if files.expand(file).exists():
        raise Problem(f"{file}: exists; it is not overwritten")
    return file


async def successor_of(old: Identity, new: PublicKey) -> Successor:
    """What the old key says of the new one now. Raises `KeyFormatError`, and what the signer raises."""
    return await Successor.made(old, new, int(time.time()))


def write_successor(file: str, successor: Successor) -> None:
    """Make the file, where nothing is. Raises `KeyFormatError`."""
    try:
        files.create(file, f"{successor}\n".encode(), 0o644)
    except OSError as exc:
        raise KeyFormatError(files.file_problem(files.expand(file), exc)) from exc


# --- showing ------------------------------------------------------------------------------------


def _lines_of(credential: Credential, now: int) -> Iterable[str]:
    whose = "host" if credential.type == HOST else "user"
    names = ", ".join(credential.principals)
    yield f"credential of a {whose}: {names}; {credential.key_id!r}, serial {credential.serial}"
    yield f"  by {credential.ca.fingerprint}, {_when(credential, now)}"
    for option in _options(credential).items():
        yield "  only {}: {}".format(*option)
    if credential.extensions:
        yield f"  with {', '.join(sorted(credential.extensions))}"


def _when(credential: Credential, now: int) -> str:
    if now >= credential.valid_before:
        return f"ended at {_date(credential.valid_before)}"
    if now < credential.valid_after:
        return f"not valid before {_date(credential.valid_after)}"
    return "for ever" if credential.valid_before == FOREVER else f"until {_date(credential.valid_before)}"


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return "the end of time"


def _options(credential: Credential) -> dict[str, str]:
    """The critical options, as text."""
    networks = credential.source_addresses
    said = {
        "force-command": credential.force_command,
        "source-address": None if networks is None else ",".join(map(str, networks)),
    }
    known = {name: text for name, text in said.items() if text is not None}
    return known | dict.fromkeys(credential.unknown_options, "which nobody here enforces")


def _map_of(credential: Credential, now: int) -> dict[str, Any]:
    return {
        "type": "host" if credential.type == HOST else "user",
        "ca": str(credential.ca),
        "ca_fingerprint": credential.ca.fingerprint,
        "principals": list(credential.principals),
        "key_id": credential.key_id,
        "serial": credential.serial,
        "valid_after": credential.valid_after,
        "valid_before": None if credential.valid_before == FOREVER else credential.valid_before,
        "valid": credential.holds(now),
        "options": _options(credential),
        "extensions": sorted(credential.extensions),
    }


def _map_of_successor(successor: Successor, now: int) -> dict[str, Any]:
    return {
        "old_fingerprint": successor.old.fingerprint,
        "time": successor.time,
        "until": successor.time + LIFE,
        "valid": successor.holds(now),
    }
