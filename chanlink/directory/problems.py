"""What a directory answers to what it does not do: errors that both sides of its calls have agreed upon."""

from chanlink.errors import CallFailed


class BadEntry(CallFailed):
    """An entry is not as it should be: unreadable, signed wrong or by another key, or its time is wrong."""

    detail: None


class NameTaken(CallFailed):
    """The name belongs to another key."""

    detail: None


class NotAllowed(CallFailed):
    """The line of this key in the directory's trust file gives it other names, or the name is not its to remove."""

    detail: None


class OlderSerial(CallFailed):
    """The directory has seen a newer entry of this key under this name. ``detail`` is the serial of that."""

    detail: int


class DirectoryFull(CallFailed):
    """There may be no more of them: names, of this key or at all, keys that share a name, or who follow changes."""

    detail: None


class StoreFailed(CallFailed):
    """The directory could not store or read it now. It may be asked again."""

    detail: None


class Overtaken(CallFailed):
    """Who follows changes was too slow for them. Begun again, it gets what there is then."""

    detail: None


PROBLEMS = (BadEntry, NameTaken, NotAllowed, OlderSerial, DirectoryFull, StoreFailed, Overtaken)
