"""The program ``chanlink``. It is beside the package: to import that takes time, and Ctrl-C is to end us quietly."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it was ignored when we were started
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    """Returns the exit status."""
    from chanlink.command import program

    return program()


if __name__ == "__main__":
    sys.exit(main())
