"""``chanlink keygen``: make a key."""

import argparse
import os
import socket
import sys
from functools import partial
from typing import Any

import chanlink
from chanlink.command.keys import default_path, load_identity
from chanlink.command.options import DEFAULT_IDENTITY, add_command
from chanlink.command.output import add_json, note, print_json
from chanlink.command.problems import Usage
from chanlink.command.sessions import in_event_loop

NOTES = f"""\
FILE gets the private key (mode 0600) and FILE.pub the public one, as ssh-keygen -t ed25519 writes them; with - the
private key goes to standard output and the public one to standard error. A key is never overwritten. It has no
passphrase; ssh-keygen -p -f FILE gives it one, and using it needs pip install 'chanlink[ssh]', or an ssh-agent.

With --successor, the old key says that this one takes its place: FILE-successor. FILE is made when it is missing. Who
knows the old key and meets the new one within 90 days trusts that from then on, and the old one never again.

examples:
  chanlink keygen                                  make {DEFAULT_IDENTITY}, which is used from now on
  chanlink keygen --comment alice@laptop alice
  chanlink keygen --psk shared_key                 a pre-shared key, to copy to both sides
  chanlink keygen --successor old_key new_key      a new key for an old name
  chanlink keygen - | vault kv put secret/key key=-
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "keygen", "Make a key.", NOTES)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help=f"where to (default: $CHANLINK_IDENTITY or {DEFAULT_IDENTITY})"
    )
    parser.add_argument("--comment", metavar="TEXT", help="whose key it is (default: USER@HOST)")
    parser.add_argument(
        "--psk", metavar="FILE", dest="psk_file", help="make a pre-shared key instead: 32 random bytes in base64"
    )
    parser.add_argument(
        "--successor", metavar="OLD", help="have this key say that FILE takes its place; a .pub file: of the ssh-agent"
    )
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("-q", "--quiet", action="store_true", help="print nothing about a key that was made")
    add_json(how_much, "what was made, without what is secret,")
    parser.set_defaults(action=_keygen)


def _keygen(options: argparse.Namespace) -> int:
    if options.psk_file is not None:
        if options.file is not None or options.comment is not None or options.successor is not None:
            raise Usage("a pre-shared key has neither another FILE nor a --comment, and takes no other's place")
        return _make_psk(options)
    return _make_identity(options) if options.successor is None else _make_successor(options)


def _make_identity(options: argparse.Namespace) -> int:
    file = options.file or default_path()
    comment = options.comment if options.comment is not None else _user()
    if file == "-":
        return _print_key(comment, options.quiet)
    identity = chanlink.Identity.generate(comment)
    identity.save(file)
    key = identity.public_key
    if options.json:
        print_json({"file": file, "public_file": f"{file}.pub", "public_key": str(key), "fingerprint": key.fingerprint})
        return 0
    if options.quiet:
        return 0
    print(f"private key  {file}\npublic key   {file}.pub\nfingerprint  {key.fingerprint}\n{key}", flush=True)
    note("For the other side: a server adds it with 'chanlink peers add --trust FILE KEY',")
    note(f"a client with 'chanlink peers add ADDRESS KEY'. For a passphrase: ssh-keygen -p -f {file}")
    return 0


def _make_successor(options: argparse.Namespace) -> int:
    """Have the old key say that the new one takes its place."""
    from chanlink.command.actions.key_files import holds_private_key

    if options.file in (None, "-"):
        raise Usage("give the FILE of the new key, too")
    file, new = options.successor, None
    old = load_identity(file) if holds_private_key(file) else chanlink.PublicKey.load(file)
    if os.path.lexists(os.path.expanduser(options.file)):
        if options.comment is not None:
            raise Usage(f"{options.file} is there, and keeps its comment")
        is_private = holds_private_key(options.file)
        new = load_identity(options.file).public_key if is_private else chanlink.PublicKey.load(options.file)
    return in_event_loop(partial(_succeed, old, new))(options)


async def _succeed(
    old: "chanlink.Identity | chanlink.PublicKey", new: "chanlink.PublicKey | None", options: argparse.Namespace
) -> int:
    from chanlink.command.actions.vouching import successor_file, successor_of, write_successor

    file = options.file
    target = successor_file(file)
    if isinstance(old, chanlink.PublicKey):
        old = await chanlink.Identity.from_agent(old)
    made = None
    if new is None:
        made = chanlink.Identity.generate(old.public_key.comment if options.comment is None else options.comment)
        new = made.public_key
    successor = await successor_of(old, new)
    if made is not None:
        made.save(file)
    write_successor(target, successor)
    if options.json:
        about = {"file": file, "public_key": str(new), "fingerprint": new.fingerprint}
        print_json({**about, "successor_file": target, "old_fingerprint": old.public_key.fingerprint})
    elif not options.quiet:
        print(f"successor    {target}\nfingerprint  {new.fingerprint}\n{new}", flush=True)
        note(f"Use {file} from now on. Whoever knows {old.public_key.fingerprint} and meets it within 90 days follows.")
    return 0


def _print_key(comment: str, quiet: bool) -> int:
    from chanlink.command.actions.key_files import make_private_key

    private, public = make_private_key(comment)
    print(private, end="", flush=True)
    if not quiet:
        note(str(public))
    return 0


def _user() -> str:
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as containers have them
        name = "chanlink"
    return f"{name}@{socket.gethostname()}"


def _make_psk(options: argparse.Namespace) -> int:
    from chanlink.command.actions.key_files import make_shared_secret, write_secret

    text = make_shared_secret()
    if options.psk_file == "-":
        sys.stdout.write(text)
        return 0
    write_secret(options.psk_file, text)
    if options.json:
        print_json({"file": options.psk_file})
    elif not options.quiet:
        print(f"pre-shared key  {options.psk_file}", flush=True)
        note("Copy it to the other side over a safe way, and give it to both with --psk.")
    return 0
