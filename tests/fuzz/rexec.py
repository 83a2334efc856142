"""The targets of examples/rexec: what its peers send, and what its files say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgpack

import chanlink
from chanlink.errors import ConfigError, DecodeError
from chanlink.security.keys import hosts
from chanlink.wire.messages.decode import decode
from examples.rexec import messages
from examples.rexec.copy import messages as copying
from examples.rexec.logs import logger
from examples.rexec.messages import BadMessage, StartError
from examples.rexec.policy import file as policy_file
from examples.rexec.policy import patterns
from examples.rexec.policy.policy import Policy, Rule
from examples.rexec.server.audit import Audit

from .targets import list_of_values, repeated, target

ENDS = {"sender": chanlink.pipe()[0], "receiver": chanlink.pipe()[1], "stream": chanlink.byte_pipe()[0]}
"""What these words stand for in a request."""
PEER = chanlink.Peer(None, "somebody", "here")
POLICIES = [
    Policy.anything(),
    Policy([Rule("forced", ("*",), command=("true",))]),
    Policy(
        [Rule("none", ("somebody",), commands=(("a", "**a**a*b", "-..."), ("*", "?*?/**", "...")), users=("root",))]
    ),
]
NOWHERE = Audit("/dev/null")
FILE = 128 * 1024
"""An eighth of what a file may be, since that is tried often: to read one takes time in proportion."""


def received(data: bytes) -> object:
    """As a message of a peer, if it can be one."""
    return decode(len(data), data, messages.LIMITS, lambda kind, stream_id: None)  # type: ignore[arg-type, return-value]


def with_ends(message: object) -> object:
    """Ends for the words that stand for them; in a map, where requests have them."""
    if not isinstance(message, dict):
        return message
    return {name: ENDS.get(value, value) if isinstance(value, str) else value for name, value in message.items()}


def many_values(data: bytes, longest: int) -> bytes:
    """A good request with as many of the same as a message may hold, of words or variables, known or not."""
    message: dict[str, Any] = {"request": "run", "command": "a", "args": [], "status": "sender"}
    message |= {"stdio": "stream", "stderr": "stream"}
    item, room = data[:40], longest - 300
    most = messages.LIMITS.message_values - 100
    match len(data) % 4:
        case 0:
            message["args"] = [item] * min(room // (len(item) + 2), most)
        case 1:
            message["environment"] = {b"%d=" % number: item for number in range(min(most // 4, room // 60))}
        case 2:
            message["environment"] = {b"%x" % number: item for number in range(min(most // 2, room // 50))}
        case 3:
            message["beside"] = [[item]] * min(room // (len(item) + 3), most // 2)
    message["directory"] = repeated(data, longest - len(msgpack.packb(message)) - 20)
    packed: bytes = msgpack.packb(message)
    return packed


@contextmanager
def unheard() -> Iterator[None]:
    """Nothing is logged: it would be a line for each input."""
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


@target(messages.LIMITS.message_size, grow=many_values)
@unheard()
def rexec_request(data: bytes) -> None:
    """All that is done with a request before it goes to the guard, under one of several policies."""
    try:
        message = with_ends(received(data))
    except DecodeError:
        return
    with suppress(BadMessage):
        copying.CopyRequest.from_message(message)
    list(messages.ends_in(message))
    policy = POLICIES[len(data) % len(POLICIES)]
    try:
        request = messages.read_request(message)
    except BadMessage:
        return
    list(messages.ends_in(request))
    if isinstance(request, messages.Run):
        account = NOWHERE.account(request, PEER)
        try:
            policy.decide(request, policy.rule_for(PEER)).to_json(5.0)
        except StartError as exc:
            account.refused(exc)
            msgpack.packb(messages.error_message(exc))


@target(messages.LIMITS.message_size, grow=lambda data, longest: list_of_values(data, longest)[4:])
def rexec_message(data: bytes) -> None:
    """What a server and a client say to each other when a command runs."""
    try:
        message = received(data)
    except DecodeError:
        return
    readers: list[Callable[[Any], object]] = [
        messages.read_control,
        messages.read_status,
        messages.read_list,
        lambda said: messages.read_name(said, "detached"),
        lambda said: messages.read_name(said, "killed"),
    ]
    for read in readers:
        with suppress(BadMessage, StartError):
            read(message)


@target(2 * patterns.WORD_MAX)
def rexec_pattern(data: bytes) -> None:
    """A pattern, a zero byte, and a word of a caller, which is the longer one."""
    pattern, _, word = data.decode("latin-1").partition("\0")
    patterns.matches(word[: patterns.WORD_MAX], pattern[:1_000])
    patterns.matches_command(word.split("/"), pattern[:1_000].split("/"))


def rules_again(data: bytes, longest: int) -> bytes:
    """A file with the same rule under many names."""
    name, rule = b"[rules.", data.partition(b"]")[2] or b"\n"
    count = longest // (len(rule) + 16)
    return b"\n".join(b"%s%08d]%s" % (name, number, rule) for number in range(count)).ljust(longest, b"\n")[:longest]


@target(FILE, grow=rules_again, seconds=1.0)  # it is our own, and read in a thread
def rexec_policy(data: bytes) -> None:
    """The file of a policy; its patterns are tried."""
    with suppress(policy_file.PolicyError):
        policy = policy_file.parse_policy("file", data.decode(errors="replace"))
        with suppress(StartError):
            policy.rule_for(PEER)
        for rule in policy.rules[:10]:
            for pattern in rule.commands or ():
                patterns.matches_command(["git", "pull", "-x"], pattern)


@target(FILE, grow=rules_again, seconds=1.0)
def hosts_file(data: bytes) -> None:
    """The file of names for servers."""
    with suppress(ConfigError):
        hosts.parse_hosts("file", data.decode(errors="replace"))
