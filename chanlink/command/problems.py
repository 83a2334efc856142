"""Errors in one line that says what to do."""

import argparse
import errno
import os
from pathlib import Path

import chanlink

from .options import HOSTS


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
        case chanlink.CallError():
            return _explain_call(error)
        case chanlink.JobRefused():
            return _explain_refused(error, options)
        case chanlink.JobLost(cause=chanlink.SessionError() | chanlink.ChannelError() as cause):
            return _explain_session(cause, options)
        case chanlink.JobLost():
            return f"{options.address}: {error.cause}; it may be of another version"
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
        if missing != str(Path(os.path.expanduser(trust))):  # a list of what is revoked
            return f"{error}; an empty list is made with: ssh-keygen -k -f {missing} /dev/null"
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
            says_all = error.code == "listen" or str(error).startswith("chanlink://")
            return str(error) if says_all else f"{error}; check the address, and that somebody listens there"
        case chanlink.UntrustedPeer():
            return start + _explain_untrusted(error, options)
        case chanlink.WrongPeer() if _is_key_of_host(options):
            return f"{start}{error}; check what {HOSTS} says of {options.host.name}"
        case chanlink.WrongPeer() if getattr(options, "peer", None) is not None:
            return f"{start}{error}; check the address, or give the right key with --peer"
        case chanlink.WrongPeer() if getattr(options, "says_key", None) is not None:
            return f"{start}{error}; check the address and the key in {options.says_key}"
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


def _explain_refused(error: "chanlink.JobRefused", options: argparse.Namespace) -> str:
    """What a queue does not do."""
    if isinstance(error.__cause__, chanlink.SessionError):
        return _explain_session(chanlink.SessionLost(error.__cause__), options)
    start, service = f"{options.address}: ", _service(options)
    match error.code:
        case "no-such-service" | "wrong-kind":  # nobody took it
            return _explain_session(chanlink.ChannelRefused(error.code), options)
        case "not-allowed":
            return f"{start}the service {service!r} does not take that; another one of this queue may (--service)"
        case "draining":
            return f"{start}the queue stops just now; what it has in a store will be there when it is started again"
        case "store-failed":
            return f"{start}the store of the queue fails: {error.text or 'its log says why'}"
    return f"{start}{error}"


def _explain_call(error: "chanlink.CallError") -> str:
    """What a directory does not do: nothing else is called."""
    match error:
        case chanlink.CallRefused(code="no-such-service"):
            return "the directory does not let our key do that: its line in the trust file there has other services"
        case chanlink.CallFailed(code="handler-failed"):
            return "the directory has failed; its log says why"
        case chanlink.CallFailed(code="store-failed"):
            return f"{error.text}: try again; its log says why"
        case chanlink.CallFailed(code="name-taken"):
            return f"{error.text}; take another name, or see chanlink directory remove --help"
        case chanlink.CallFailed():
            return error.text or error.code
        case chanlink.CallLost():
            return f"the directory was lost before it has answered: {error.cause}"
    return str(error)


def _is_key_of_host(options: argparse.Namespace) -> bool:
    """Whether the key that we expect stands in the file of hosts."""
    host = getattr(options, "host", None)
    return host is not None and host.key is not None and options.peer == str(host.key)


def _service(options: argparse.Namespace) -> str:
    return getattr(options, "service", None) or ""


def _explain_untrusted(error: "chanlink.UntrustedPeer", options: argparse.Namespace) -> str:
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
