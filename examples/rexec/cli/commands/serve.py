"""``rexec serve``: let others run commands here."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..arguments import Options, add_command, add_identity, duration, identity

if TYPE_CHECKING:
    from ...policy.file import PolicyFile
    from ...server.audit import Audit

AUTHORIZED_PEERS = "~/.config/chanlink/authorized_peers"
LISTEN = "tcp://127.0.0.1:9323"
MAX_RESUME = 600.0
"""Seconds, unless ``--max-resume`` says otherwise."""
FAREWELL = 2.0
"""Seconds in which clients are told that the server ends."""

NOTES = """\
Prints a line with its addresses and one with its public key, and serves until it is interrupted. Whoever has a key in
the trust file may run anything that this user may run, unless --policy says less. When the server ends, in whatever
way, its commands are stopped. INT, TERM and HUP end it; one of them that was ignored when it was started (nohup) stays
ignored.

examples:
  rexec serve
  rexec serve --listen tcp://0.0.0.0:9323 --trust ~/.ssh/authorized_keys
  rexec serve --policy /etc/rexec/policy.toml --audit /var/log/rexec.jsonl
  rexec serve --advertise --policy policy.toml     by the chanlink daemon, which has the key and the trust file

A policy has a table for each rule; a key that no rule names may do nothing:
  [rules.people]
  keys = ["alice"]                              names in the trust file, SHA256:... fingerprints, or whole keys
  [rules.deploy]
  keys = ["robot"]
  commands = [["uptime"], ["git", "pull", "--ff-only"], ["/usr/local/bin/deploy", "web-*"]]     to the last word
  [rules.staff]
  keys = ["*@example", "carol@example"]         whom the authority issuer="example" of the trust file vouches for
"""


def add(commands: Any) -> None:
    # Whole: a list of options.
    serve = add_command(
        commands,
        "serve",
        action,
        explain,
        help="let others run commands here",
        description="Let trusted peers run commands here.",
        epilog=NOTES,
        announces=True,
    )
    copies = serve.add_mutually_exclusive_group()
    copies.add_argument(
        "--copy-root",
        metavar="FOLDER",
        help="let rexec cp read and write beneath this folder only; without it, only who may run anything may copy",
    )
    copies.add_argument("--no-copy", action="store_true", help="do not serve rexec cp")
    serve.add_argument("--listen", metavar="ADDRESS", help=f"where to listen (default: {LISTEN})")
    serve.add_argument(
        "--advertise",
        action="store_true",
        help="let the chanlink daemon of this machine listen, and hand over whom it lets in; without rexec cp",
    )
    add_identity(serve)
    serve.add_argument(
        "--trust",
        metavar="FILE",
        help=f"who may run commands: public keys, one a line (default: {AUTHORIZED_PEERS})",
    )
    serve.add_argument(
        "--revoked",
        metavar="FILE",
        help="what is revoked, whoever vouches for it: public keys, one a line, or a list of ssh-keygen -k",
    )
    serve.add_argument(
        "--policy", metavar="FILE", help="which of them may run what, in TOML (default: everybody may run anything)"
    )
    serve.add_argument(
        "--audit", metavar="FILE", help="append a line of JSON for each start, end and refusal (default: only the log)"
    )
    serve.add_argument(
        "--grace",
        metavar="SECONDS",
        type=_seconds,
        default=5.0,
        help="between TERM and KILL for commands that are stopped (default: 5)",
    )
    serve.add_argument(
        "--max-resume",
        metavar="TIME",
        type=duration,
        default=MAX_RESUME,
        help="for how long a client may come back whose connection has broken: its commands go on meanwhile, and are"
        f" stopped 15 s later (default: {MAX_RESUME / 60:.0f}m; 0: not at all)",
    )
    serve.add_argument(
        "--stopped",
        metavar="SECONDS",
        type=_long,
        default=3_600.0,
        help="how long the commands of a client go on that is stopped itself, as by Ctrl-Z (default: 3600)",
    )


def _seconds(text: str, most: int = 3_600) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {most}")
    return seconds


def _long(text: str) -> float:
    return max(_seconds(text, 30 * 86_400), 1.0)


def action(options: Options) -> int:
    from ..loop import run_loop

    _decide(options)
    _keep_apart(options)
    return run_loop(_serve, options)


def _decide(options: Options) -> None:
    """What is not said is as ever, or the daemon's business."""
    if options.advertise:
        for name in ("listen", "identity", "trust", "revoked"):
            if getattr(options, name) is not None:
                options.parser.error(
                    f"--{name} does not go with --advertise: the daemon listens, has the key, and says who may come"
                )
        if options.copy_root is not None:
            options.parser.error(
                "--copy-root does not go with --advertise: the daemon hands over sessions for commands alone"
            )
        options.no_copy = True
    else:
        options.listen, options.trust = options.listen or LISTEN, options.trust or AUTHORIZED_PEERS


def _where(options: Options) -> dict[str, Any]:
    """Where clients come from, and who decides about them: for `chanlink.listen`. Raises for files of ours."""
    import chanlink

    from ...server.service import SERVICE

    if options.advertise:
        return {"address": chanlink.Advertised(SERVICE)}
    own = identity(options)
    trust = chanlink.Trust.load(options.trust)
    return {"address": options.listen, "identity": own, "trust": trust, "revoked": options.revoked}


async def _serve(options: Options) -> int:
    # Whole: what is made, in the order in which it has to end again.
    import dataclasses
    import signal

    import anyio

    import chanlink
    from chanlink.observing import dump_on_signal

    from ...logs import log_to_standard_error
    from ...messages import LIMITS
    from ...policy.file import PolicyFile
    from ...room import make_room
    from ...server.audit import Audit
    from ...server.service import ENFORCES, SERVICE, service
    from ..signals import heeding

    where = _where(options)
    policy = PolicyFile(options.policy, options.trust) if options.policy else None
    audit = Audit(options.audit)
    copies = {} if options.no_copy else _copies(options, policy, audit)
    log_to_standard_error()
    if policy is not None:
        policy.warn()
    with heeding(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        with anyio.CancelScope() as serving:
            async with (
                dump_on_signal(),
                service(policy, audit, options.grace) as rexec,
                chanlink.listen(
                    **where,
                    services={SERVICE: chanlink.service(rexec, enforces=ENFORCES), **copies},
                    limits=dataclasses.replace(LIMITS, client_stopped=options.stopped, resume=options.max_resume),
                ) as listener,
            ):
                make_room()  # not before: the commands get what we got
                if options.advertise:
                    print("advertised by the daemon, at", *listener.addresses or ["no address"], flush=True)
                else:
                    print("listening on", *listener.addresses)
                    print("public key", where["identity"].public_key, flush=True)
                await anext(signals)
                await rexec.stop()
                with anyio.move_on_after(FAREWELL):
                    await listener.aclose()
                serving.cancel()  # detached commands are stopped on the way out
                await anyio.sleep_forever()
    return 0


def _copies(options: Options, policy: "PolicyFile | None", audit: "Audit") -> dict[str, Any]:
    """The service of copies, by its name."""
    from ...copy.messages import SERVICE
    from ...copy.rules import may_copy
    from ...copy.service import copy_service

    rules = may_copy(policy, trust=None if options.copy_root else options.trust)
    return {SERVICE: copy_service(options.copy_root, rules, audit.write)}


def _keep_apart(options: Options) -> None:
    """What says who may do what must not lie beneath the root of copies: a copy could say it anew."""
    import os

    from ...settings_file import expanded

    if options.copy_root is None:
        return
    root = os.path.realpath(expanded(options.copy_root))
    if not os.path.isdir(root):
        options.parser.error(f"--copy-root {options.copy_root} is no folder")
    own_key = options.identity or os.environ.get("CHANLINK_IDENTITY") or "~/.config/chanlink/id_ed25519"
    files = {
        "trust": options.trust,
        "revoked": options.revoked,
        "policy": options.policy,
        "audit": options.audit,
        "identity": own_key,
    }
    beneath = os.path.join(root, "")
    for name, path in files.items():
        if path is not None and any(entry.startswith(beneath) for entry in _way(os.path.expanduser(path))):
            options.parser.error(f"--{name} {path} is beneath --copy-root, where copies could change it")


def _way(path: str) -> Iterator[str]:
    """All that is looked up to find a file, each in its real folder: a copy could replace a link on the way, too."""
    import os

    here, left, links = "/", os.path.join(os.getcwd(), path).split("/")[::-1], 0
    while left and links < 40:  # as many as the system follows
        match left.pop():
            case "" | ".":
                pass
            case "..":
                here = os.path.dirname(here)
            case name:
                entry = os.path.join(here, name)
                yield entry
                try:
                    target = os.readlink(entry)
                except OSError:
                    here = entry
                else:
                    links += 1
                    here = "/" if target.startswith("/") else here
                    left += target.split("/")[::-1]


def explain(error: Exception, options: Options) -> str | None:
    import chanlink

    from ...policy.file import PolicyError
    from ..explaining import explain

    if isinstance(error, PolicyError):
        return str(error)
    if isinstance(error, chanlink.TrustFormatError):
        return f"{error}; it holds the public keys of those who may run commands, one a line (see: rexec key)"
    return explain(error)
