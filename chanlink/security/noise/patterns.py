"""The handshake patterns of the Noise specification, as data (sections 7, 9 and 18).

A pattern says which public keys the sides know beforehand (pre-messages) and what each message does (tokens).
It is written as the specification prints it, without the arrows: messages alternate, the initiator's first.
`state.HandshakeState` is the one interpreter of all of them; nothing here computes.

chanlink uses XX, with a pre-shared key or without, and NN with one. The others are here for their test vectors: what
the published ones and other implementations say of all patterns is said of the interpreter that runs these.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, cast

from chanlink.errors import LocalProtocolError

Token: TypeAlias = Literal["e", "s", "ee", "es", "se", "ss", "psk"]
MessagePattern: TypeAlias = tuple[Token, ...]


class HandshakePattern(NamedTuple):
    """What each side knows of the other's static key beforehand, and the tokens of each message (section 7.1)."""

    initiator_known: bool
    """``-> s`` stands before the dots: the responder knows the initiator's static key."""

    responder_known: bool
    """``<- s`` stands before the dots: the initiator knows the responder's static key."""

    messages: tuple[MessagePattern, ...]

    @property
    def psk_count(self) -> int:
        """How many pre-shared keys the handshake takes."""
        return sum(message.count("psk") for message in self.messages)

    def needs_static(self, initiator: bool) -> bool:
        """Whether this side needs a static key pair of its own."""
        known = self.initiator_known if initiator else self.responder_known
        return known or any("s" in message for message in self.messages[0 if initiator else 1 :: 2])


class ProtocolName(NamedTuple):
    """A protocol name, taken apart (section 8). The names of functions are looked up where the functions are."""

    name: str
    pattern: HandshakePattern
    dh: str
    cipher: str
    hash: str


def parse_protocol_name(name: str) -> ProtocolName:
    """Take apart a name such as ``Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s``.

    Raises `LocalProtocolError` for a name of another form, and for a pattern or modifier that is not known.
    """
    parts = name.split("_")
    if len(parts) != 5 or parts[0] != "Noise":
        raise LocalProtocolError(f"not a Noise protocol name: {name!r}")
    return ProtocolName(name, find_pattern(parts[1]), *parts[2:])


def find_pattern(name: str) -> HandshakePattern:
    """The pattern of a name such as ``IK``, ``X1X1`` or ``XXpsk0+psk3``; raises `LocalProtocolError` if unknown."""
    match = re.fullmatch(r"([A-Z0-9]+)(psk[0-9](?:\+psk[0-9])*)?", name)
    if match is None or match[1] not in PATTERNS:
        raise LocalProtocolError(f"unknown handshake pattern: {name!r}")
    positions = [int(digit) for digit in re.findall(r"psk([0-9])", match[2] or "")]
    return _with_psks(PATTERNS[match[1]], positions)


def _with_psks(pattern: HandshakePattern, positions: Sequence[int]) -> HandshakePattern:
    """Apply psk modifiers (section 9.4): 0 begins the first message with a psk, n ends the n-th message with one."""
    if len(set(positions)) != len(positions) or any(position > len(pattern.messages) for position in positions):
        raise LocalProtocolError(f"psk modifiers that do not fit the pattern: {list(positions)}")
    messages = list(pattern.messages)
    for position in positions:
        if position == 0:
            messages[0] = ("psk", *messages[0])
        else:
            messages[position - 1] = (*messages[position - 1], "psk")
    return pattern._replace(messages=tuple(messages))


def _pattern(pre_messages: str, *messages: str) -> HandshakePattern:
    """``pre_messages`` is of ``-> s`` and ``<- s``; each message is its tokens, with blanks between."""
    split = tuple(cast(MessagePattern, tuple(message.split())) for message in messages)
    return HandshakePattern("-> s" in pre_messages, "<- s" in pre_messages, split)


PATTERNS = {
    # One-way (section 7.4).
    "N": _pattern("<- s", "e es"),
    "K": _pattern("-> s, <- s", "e es ss"),
    "X": _pattern("<- s", "e es s ss"),
    # Interactive, fundamental (section 7.5).
    "NN": _pattern("", "e", "e ee"),
    "KN": _pattern("-> s", "e", "e ee se"),
    "NK": _pattern("<- s", "e es", "e ee"),
    "KK": _pattern("-> s, <- s", "e es ss", "e ee se"),
    "NX": _pattern("", "e", "e ee s es"),
    "KX": _pattern("-> s", "e", "e ee se s es"),
    "XN": _pattern("", "e", "e ee", "s se"),
    "IN": _pattern("", "e s", "e ee se"),
    "XK": _pattern("<- s", "e es", "e ee", "s se"),
    "IK": _pattern("<- s", "e es s ss", "e ee se"),
    "XX": _pattern("", "e", "e ee s es", "s se"),
    "IX": _pattern("", "e s", "e ee se s es"),
    # Interactive, deferred (sections 7.6 and 18.1). A 1 puts off the authentication of the side whose letter it
    # follows by one message.
    "NK1": _pattern("<- s", "e", "e ee es"),
    "NX1": _pattern("", "e", "e ee s", "es"),
    "X1N": _pattern("", "e", "e ee", "s", "se"),
    "X1K": _pattern("<- s", "e es", "e ee", "s", "se"),
    "XK1": _pattern("<- s", "e", "e ee es", "s se"),
    "X1K1": _pattern("<- s", "e", "e ee es", "s", "se"),
    "X1X": _pattern("", "e", "e ee s es", "s", "se"),
    "XX1": _pattern("", "e", "e ee s", "es s se"),
    "X1X1": _pattern("", "e", "e ee s", "es s", "se"),
    "K1N": _pattern("-> s", "e", "e ee", "se"),
    "K1K": _pattern("-> s, <- s", "e es", "e ee", "se"),
    "KK1": _pattern("-> s, <- s", "e", "e ee se es"),
    "K1K1": _pattern("-> s, <- s", "e", "e ee es", "se"),
    "K1X": _pattern("-> s", "e", "e ee s es", "se"),
    "KX1": _pattern("-> s", "e", "e ee se s", "es"),
    "K1X1": _pattern("-> s", "e", "e ee s", "se es"),
    "I1N": _pattern("", "e s", "e ee", "se"),
    "I1K": _pattern("<- s", "e es s", "e ee", "se"),
    "IK1": _pattern("<- s", "e s", "e ee se es"),
    "I1K1": _pattern("<- s", "e s", "e ee es", "se"),
    "I1X": _pattern("", "e s", "e ee s es", "se"),
    "IX1": _pattern("", "e s", "e ee se s", "es"),
    "I1X1": _pattern("", "e s", "e ee s", "se es"),
}
