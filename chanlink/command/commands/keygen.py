"""``chanlink keygen``: make a key."""

import argparse
import socket
import sys
from typing import Any

import chanlink
from chanlink.command.keys import default_path
from chanlink.command.options import DEFAULT_IDENTITY, add_command
from chanlink.command.output import add_json, note, print_json
from chanlink.command.problems import Usage

NOTES = f"""\
FILE gets the private key (mode 0600) and FILE.pub the public one, as ssh-keygen -t ed25519 writes them; with - the
private key goes to standard output and the public one to standard error. A key is never overwritten. It has no
passphrase; ssh-keygen -p -f FILE gives it one, and using it needs pip install 'chanlink[ssh]', or an ssh-agent.

examples:
  chanlink keygen                                  make {DEFAULT_IDENTITY}, which is used from now on
  chanlink keygen --comment alice@laptop alice
  chanlink keygen --psk shared_key                 a pre-shared key, to copy to both sides
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
    add_json(parser, "what was made, without what is secret,")
    parser.set_defaults(action=_keygen)


def _keygen(options: argparse.Namespace) -> int:
    if options.psk_file is not None:
        if options.file is not None or options.comment is not None:
            raise Usage("a pre-shared key has neither another FILE nor a --comment")
        return _make_psk(options)
    return _make_identity(options)


def _make_identity(options: argparse.Namespace) -> int:
    file = options.file or default_path()
    comment = options.comment if options.comment is not None else _user()
    if file == "-":
        return _print_key(comment)
    identity = chanlink.Identity.generate(comment)
    identity.save(file)
    key = identity.public_key
    if options.json:
        print_json({"file": file, "public_file": f"{file}.pub", "public_key": str(key), "fingerprint": key.fingerprint})
        return 0
    print(f"private key  {file}\npublic key   {file}.pub\nfingerprint  {key.fingerprint}\n{key}", flush=True)
    note("For the other side: a server adds it with 'chanlink peers add --trust FILE KEY',")
    note(f"a client with 'chanlink peers add ADDRESS KEY'. For a passphrase: ssh-keygen -p -f {file}")
    return 0


def _print_key(comment: str) -> int:
    from chanlink.command.actions.key_files import make_private_key

    private, public = make_private_key(comment)
    print(private, end="", flush=True)
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
    else:
        print(f"pre-shared key  {options.psk_file}", flush=True)
        note("Copy it to the other side over a safe way, and give it to both with --psk.")
    return 0
