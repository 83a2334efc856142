"""The program ``chanlink``. It is beside the package: to import that takes time, and Ctrl-C is to end us quietly."""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of: that takes time, too
import sys

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # else it was ignored when we were started
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def main() -> int:
    """Returns the exit status."""
    import gc

    gc.disable()  # while modules are imported, a tenth of the time would go into looking for garbage that is none
    from chanlink.command import program

    gc.enable()
    return program()


if __name__ == "__main__":
    sys.exit(main())
