"""Errors in one line that says what to do."""

import argparse
import errno
import os
from pathlib import Path

import chanlink


class Usage(Exception):
    """Arguments that don't fit together."""


class Problem(Exception):
    """What went wrong, in a line for people."""


def first_of(error: BaseException) -> BaseException:
    """The first error of a group; an interruption before all else."""
    while isinstance(error, BaseExceptionGroup):
        interruption, _ = error.split(KeyboardInterrupt)
        error = (interruption or error).exceptions[0]
    return error


def explain(error: Exception, options: argparse.Namespace) -> str | None:
    """What went wrong and what to do; None for a defect of ours."""
    match error:
        case Usage():
            return f"{error}; see chanlink {options.command} --help"
        case Problem():
            return str(error)
        case chanlink.KeyFormatError() | chanlink.TrustFormatError():
            return _explain_file(error, options)
        case chanlink.SessionError() | chanlink.ChannelError():
            return _explain_session(error, options)
        case chanlink.ChanlinkError():
            # What the agent's module says to programs, an option says to people.
            return str(error).replace("public_key=...", "--identity FILE.pub")
        case UnicodeEncodeError():
            return f"{error.object!r} is no text: in the locale here, it has bytes that are no letters"
        case OSError():
            return _explain_os(error)
    return None


def _explain_os(error: OSError) -> str:
    what = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {what}"
    if error.errno in (errno.EBADF, errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT):
        return f"can't write to standard output: {what}"
    return f"can't read or write: {what}"


def _explain_file(error: Exception, options: argparse.Namespace) -> str:
    if isinstance(error.__cause__, FileExistsError):
        return f"{error}; a key is never overwritten: give another name, or move the old one away"
    missing = _missing(error)
    if missing is None:
        return str(error)
    trust = getattr(options, "trust", None)
    if isinstance(error, chanlink.TrustFormatError) and trust is not None:
        return f"{error}; say who may connect with: chanlink peers add --trust {trust} KEY"
    psk = getattr(options, "psk", None)
    if psk is not None and missing == str(Path(os.path.expanduser(psk))):
        return f"{error}; make a pre-shared key with: chanlink keygen --psk FILE"
    return f"{error}; make a key with: chanlink keygen FILE"


def _missing(error: BaseException | None) -> str | None:
    """The file that is missing, if that is what it is about."""
    while error is not None:
        if isinstance(error, FileNotFoundError):
            return str(error.filename)
        error = error.__cause__
    return None


def _explain_session(error: Exception, options: argparse.Namespace) -> str:
    """Why there is no connection, or none any more."""
    address = getattr(options, "address", None) or ""
    start = f"{address}: " if address else ""
    match error:
        case chanlink.ConnectFailed():
            here = error.code == "listen"
            return str(error) if here else f"{error}; check the address, and that somebody listens there"
        case chanlink.UntrustedPeer():
            return start + _explain_untrusted(error, options)
        case chanlink.WrongPeer() if getattr(options, "peer", None) is not None:
            return f"{start}{error}; check the address, or give the right key with --peer"
        case chanlink.WrongPeer():
            return (
                f"{start}{error}; if the server has a new key, replace the old one with: "
                f"chanlink peers remove {address}, and then add the new one"
            )
        case chanlink.HandshakeTimeout():
            return f"{error}; does a chanlink server listen there, and without a pre-shared key?"
        case chanlink.HandshakeError(code="clock"):
            return f"{start}{error}"
        case chanlink.HandshakeError(code="no-answer"):  # with a pre-shared key of ours, the text says it
            return f"{start}{error}" + ("; see --psk" if getattr(options, "psk", None) is None else "")
        case chanlink.HandshakeError():
            return f"{start}{error}; is it a chanlink server, and is the pre-shared key (--psk) the same on both sides?"
        case chanlink.SessionClosed(code="busy"):
            return f"{start}the server is busy: {error.text or 'it has too many sessions'}"
        case chanlink.SessionLost(orderly=True):
            return f"{start}the server closed the connection before we were done; was it stopped?"
        case chanlink.SessionLost():
            return f"{start}the connection was lost: {error.cause}"
        case chanlink.ChannelRefused(code="no-such-service") | chanlink.ChannelFailed(code="no-such-service"):
            service = _service(options)
            return f"{start}the server has no service {service!r}, or its trust file does not allow our key to use it"
        case chanlink.ChannelRefused(code="wrong-kind") | chanlink.ChannelFailed(code="wrong-kind"):
            return f"{start}the service {_service(options)!r} is of another kind: messages, or bytes"
        case chanlink.ChannelRefused() | chanlink.ChannelFailed():
            return f"{start}the other side gave up: {error}"
    return f"{start}{error}"


def _service(options: argparse.Namespace) -> str:
    return getattr(options, "service", None) or ""


def _explain_untrusted(error: chanlink.UntrustedPeer, options: argparse.Namespace) -> str:
    if error.remote:
        return f"the server does not trust our key; {error.advice}"
    if error.key:
        return (
            f"the server has the key {error.fingerprint}, which is not known; if it is the right one: "
            f"chanlink peers add {options.address} '{error.key}'"
        )
    if error.advice:
        return f"the server has the key {error.fingerprint}: {error.advice}"
    return f"the server has the key {error.fingerprint}, and another one was expected; see --peer"
