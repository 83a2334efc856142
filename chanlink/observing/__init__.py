"""What a program is doing, for whoever runs it.

An `Instrument` is told of what begins, changes and ends; it is given to what makes sessions, as ``instruments=[...]``.
What it is told is in `chanlink.instrument`, since all rooms below tell it. This room reads what they keep, and changes
nothing of it.

    dump         text for people, by a call or on a signal;  report: the same as a map
    stalls       channels in which nothing goes on
    inspection   the service that ``chanlink top`` asks
    tasks        which tasks hold which ends, and what each of them waits for
    reach        what can be reached from a task, and whether others may have it, too

All of these read when somebody asks, and cost nothing before.
"""

from chanlink.instrument import (
    CallInfo,
    ChannelInfo,
    ChannelTotals,
    Instrument,
    SessionInfo,
    SessionTotals,
    StallInfo,
)

from .dump import dump, dump_on_signal, state
from .stalls import watch_stalls

__all__ = [
    "CallInfo",
    "ChannelInfo",
    "ChannelTotals",
    "Instrument",
    "SessionInfo",
    "SessionTotals",
    "StallInfo",
    "dump",
    "dump_on_signal",
    "state",
    "watch_stalls",
]
