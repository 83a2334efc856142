"""Policy: who may run what, as a TOML file says.

    [rules.deploy]
    keys = ["alice@laptop", "SHA256:...", "ssh-ed25519 AAAA..."]    # names in the trust file, or keys; "*": all others
    commands = [["git", "pull", "--ff-only"], ["systemctl", "restart", "web-*"]]

Each table of ``rules`` is a rule; the first that names a key, in the order of the file, says all about it. A key that
no rule names may run nothing. What a rule can say besides ``keys`` stands in `Rule`; without it, everything is
allowed but what needs more than the server's own rights.

Whom an authority vouches for is called ``PRINCIPAL@ISSUER``; ``*@ISSUER`` stands for all of that issuer whom no rule
names. What such a peer's credential forbids, it may not do whatever its rule says: see `narrowed`.

Whoever writes a rule wants to allow something *and no more*. So what is not understood is an error and never a grant.

The file is read in `file`, and patterns are explained in `patterns`.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import chanlink

from ..limits import lowered
from ..messages import NO_SUCH_USER, REFUSED, Run, StartError
from ..words import bytes_of, shell_line, text_of
from .names import names_of
from .order import Order
from .patterns import matches_any, matches_command
from .users import LOCALE, User, environment_of, look_up, shell_of

AT_ONCE = 1_000
HARMLESS = (*LOCALE, "TERM")
"""Variables that callers may set if a rule restricts them and does not say more; not to paths, see `_may_set`."""


class Rule(NamedTuple):
    """What the keys of a rule may do."""

    name: str
    keys: tuple[str, ...]
    """Fingerprints, whole keys without their comments, names, ``*@ISSUER``, or ``*``; see `names_of`."""
    commands: tuple[tuple[str, ...], ...] | None = None
    """Patterns of commands; None: any."""
    command: tuple[str, ...] | None = None
    """What is run, whatever is asked for; REXEC_ORIGINAL_COMMAND holds what was asked for, quoted as for a shell."""
    environment: tuple[str, ...] | None = None
    """Patterns of the variables that the caller may set; by default `HARMLESS` if commands are restricted, else any."""
    variables: Mapping[str, str] = {}
    """Variables that are set, whatever the caller says."""
    directory: str | None = None
    """Where commands start, if the caller says nothing."""
    directories: tuple[str, ...] | None = None
    """Patterns of the folders that the caller may choose; by default none if commands are restricted, else any."""
    users: tuple[str, ...] = ()
    """Whom the caller may run commands as; the first is the default. By default the server's own user, or anybody if
    commands are not restricted."""
    pty: bool | None = None
    """Whether commands may have a terminal; by default only if commands are not restricted: at a terminal many programs
    start a pager or an editor, and those start whatever is typed."""
    detach: bool = True
    copy: bool | None = None
    """Whether files may be copied to and fro; by default only if commands are not restricted."""
    at_once: int = AT_ONCE
    """How many commands each key may have at once, detached ones included."""
    limits: Mapping[str, int] = {}
    """By the names of `limits.NAMES`; callers may ask for lower ones."""
    forced: str | None = None
    """What is run by the shell of its user, whatever is asked for; SSH_ORIGINAL_COMMAND holds that, too. Credentials
    say so, and no file."""
    by_credential: bool = False
    """Whether it has been narrowed by what the caller's credential says."""

    @property
    def restricted(self) -> bool:
        return self.commands is not None or self.command is not None or self.forced is not None

    @property
    def allows_terminals(self) -> bool:
        return not self.restricted if self.pty is None else self.pty

    @property
    def allows_copying(self) -> bool:
        return not self.restricted if self.copy is None else self.copy


class Policy:
    """The rules, in their order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    @classmethod
    def anything(cls) -> Self:
        """What holds without a file: whoever is trusted may do whatever the server may."""
        return cls([Rule("anything", ("*",))])

    def rule_for(self, peer: chanlink.Peer) -> Rule:
        """As it holds for this peer. Raises `StartError` if there is none."""
        for names in names_of(peer):
            for rule in self.rules:
                if names & set(rule.keys):
                    return narrowed(rule, peer)
        raise StartError(REFUSED, "no rule of the server's policy names this key")

    def decide(self, run: Run, rule: Rule) -> Order:
        """What is to be run. Raises `StartError` with a line for the caller if the rule does not allow it."""
        try:
            return _decide(run, rule)
        except _Refused as exc:
            beside = ", with the caller's credential," if rule.by_credential else ""
            raise StartError(REFUSED, f"the rule {rule.name} of the server's policy{beside} {exc}") from None


def narrowed(rule: Rule, peer: chanlink.Peer) -> Rule:
    """The rule with what the peer's credential forbids. Raises `StartError` if nothing is left.

    As sshd does: the command that a credential forces is run in place of any other, and terminals need ``permit-pty``.
    """
    if peer.issued is None:
        return rule
    credential = peer.issued.credential
    terminals = rule.allows_terminals and credential.permits_terminals
    rule = rule._replace(pty=terminals, by_credential=True)
    if credential.force_command is None:
        return rule
    if rule.command is not None:  # to run one of them would be what the other one forbids
        text = f"the rule {rule.name} of the server's policy forces one command, and the caller's credential another"
        raise StartError(REFUSED, text)
    return rule._replace(forced=credential.force_command, detach=False, copy=False)


class _Refused(Exception):
    """What a rule does not allow."""


# --- decisions ----------------------------------------------------------------------------------


def _decide(run: Run, rule: Rule) -> Order:
    if run.terminal is not None and not rule.allows_terminals:
        raise _Refused("allows no terminal")
    if run.detach is not None and not rule.detach:
        raise _Refused("does not allow to run commands detached")
    for name, text in run.environment.items():
        if not _may_set(rule, text_of(name), text) and (name != b"TERM" or run.terminal is None):
            raise _Refused(f"does not allow to set {text_of(name)}")
    try:
        limits = lowered(rule.limits, run.limits)
    except ValueError as exc:
        raise _Refused(f"does not allow that: {exc}") from None
    user = _user(run, rule)
    argv = _command(run, rule, user)
    environment = environment_of(user) | run.environment
    environment |= {bytes_of(name): bytes_of(text) for name, text in rule.variables.items()}
    original = bytes_of(shlex.join(map(text_of, run.argv)))
    if rule.command is not None or rule.forced is not None:
        environment[b"REXEC_ORIGINAL_COMMAND"] = original
    if rule.forced is not None:
        environment[b"SSH_ORIGINAL_COMMAND"] = original
    directory = _directory(run, rule)
    if directory is None and user is not None:
        directory = os.fsencode(user.home if os.path.isdir(user.home) else "/")
    return Order(argv, environment, directory, user, limits, run.terminal)


def _command(run: Run, rule: Rule, user: User | None) -> list[bytes]:
    if rule.command is not None:
        return list(map(bytes_of, rule.command))
    argv = run.argv if rule.forced is None else [bytes_of(shell_of(user)), b"-c", bytes_of(rule.forced)]
    if rule.commands is not None:
        words = list(map(text_of, argv))
        if not any(matches_command(words, pattern) for pattern in rule.commands):
            raise _Refused(f"does not allow this command: {shell_line(argv)}")
    return argv


def _may_set(rule: Rule, name: str, value: bytes) -> bool:
    """What libraries take for a file (``TZ=/dev/tape``) would be opened by a command with rights that are not the
    caller's: that is harmless only for names in the system's own folder."""
    if rule.environment is not None:
        return matches_any(name, rule.environment)
    return not rule.restricted or (matches_any(name, HARMLESS) and not _is_path(value))


def _is_path(value: bytes) -> bool:
    return value.lstrip(b":").startswith(b"/") or b".." in value


def _directory(run: Run, rule: Rule) -> bytes | None:
    if run.directory is None:
        return None if rule.directory is None else bytes_of(rule.directory)
    folder = text_of(run.directory)
    if rule.directories is None:
        allowed = not rule.restricted
    else:
        allowed = ".." not in folder.split("/") and matches_any(folder, rule.directories)
    if not allowed:
        raise _Refused(f"does not allow the folder {folder}")
    return run.directory


def _user(run: Run, rule: Rule) -> User | None:
    """None: the server's own."""
    asked = run.user or (rule.users[0] if rule.users else None)
    if asked is None:
        return None
    if run.user is not None and run.user not in rule.users and (rule.users or rule.restricted):
        raise _Refused(f"does not allow the user {run.user}")
    try:
        user = look_up(asked)
    except (KeyError, UnicodeEncodeError):  # the second is of a locale that has no such character
        raise StartError(NO_SUCH_USER, f"{asked}: there is no such user") from None
    return None if user.is_our_own() else user
