"""Calls of methods of another process: what a `typing.Protocol` says, over channels.

    interface         `Interface`: what both sides agree upon, checked once
    protocols         from the methods of a protocol to a `Method` each
    marks             `idempotent`, `finishes`: what an author says of a method that its signature can't
    method            `Method`: what a call of it carries, and how that becomes a message and comes back
    parts             `Part`: the types of arguments, results and details
    failures          `Failures`: the errors that both sides have agreed upon
    implementations   whether an object can be called as the interface says
    messages          requests and replies as they travel, and the ends in what nobody will have
    client            the side that calls: from a request to an outcome
    serving           the side that serves: tasks that carry out requests, within bounds
    context           `current_call`, `call_context`: what travels beside the arguments

The room is built on public names. It takes them from the rooms that define them, as ``chanlink/__init__.py`` imports
it.
"""

from .context import Call, call_context, current_call
from .interface import Interface
from .marks import finishes, idempotent

__all__ = ["Call", "Interface", "call_context", "current_call", "finishes", "idempotent"]
