"""``rexec key``: print our public key."""

from typing import Any

from ..arguments import Options, add_command, add_identity, identity

NOTES = """\
examples:
  rexec key                                    to be added to a trust file of the server
  rexec key | ssh build 'mkdir -p ~/.config/chanlink && cat >> ~/.config/chanlink/authorized_peers'
  rexec key --identity ~/.ssh/id_ed25519
"""


def add(commands: Any) -> None:
    key = add_command(
        commands,
        "key",
        action,
        explain,
        help="print our public key",
        description="Print our public key.",
        epilog=NOTES,
    )
    add_identity(key)


def action(options: Options) -> int:
    print(identity(options).public_key)
    return 0


def explain(error: Exception, options: Options) -> str | None:
    from ..explaining import explain

    return explain(error)
