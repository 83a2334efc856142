"""The first process of a container, which has a duty: it inherits what others leave behind, and has to reap it.

Nor does it get a signal that it has not asked for. So the work is done by a child of the first process, which passes
signals on, reaps, and ends as its child does.
"""

import os
import signal
import sys


def leave_first_place() -> None:
    """If we are the first process, return in a child of it. To be called before there are threads."""
    if sys.platform != "linux" or os.getpid() != 1:
        return
    heeded = {number for number in signal.valid_signals() if signal.getsignal(number) is not signal.SIG_IGN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heeded)  # those that come from now on wait for us
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        told = signal.sigwaitinfo(heeded)
        # What the terminal sends, it sends to the child as well.
        if told.si_signo != signal.SIGCHLD and told.si_code <= 0:
            os.kill(child, told.si_signo)
        _reap(child)


def _reap(child: int) -> None:
    """Reap what has ended. The end of our child is our end, too."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
        if pid == 0:
            return
