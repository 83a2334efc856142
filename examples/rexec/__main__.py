"""The program ``rexec``, also ``python -m examples.rexec``.

A call that another process does the work for must be quick: it imports nothing of the rest.
"""

from .cli.interrupts import let_interrupts_end_us

let_interrupts_end_us()  # before anything that takes time

import os  # noqa: E402
import sys  # noqa: E402

from .cli.descriptors import FAILED, finish, prepare  # noqa: E402


def main() -> int:
    """The command ``rexec``; returns its exit status."""
    if os.getpid() == 1:
        from .cli.first_process import leave_first_place

        leave_first_place()
    prepare()
    try:
        status = _run(sys.argv[1:])
    except SystemExit as exc:  # of the parser
        status = exc.code if isinstance(exc.code, int) else FAILED
    let_interrupts_end_us()
    return finish(status)


def _run(argv: list[str]) -> int:
    if argv[:1] == ["run"] and "--share" in argv[: argv.index("--") if "--" in argv else None]:
        from .cli.share.client import run_shared

        return run_shared(argv)
    from .cli.main import main

    return main(argv)


if __name__ == "__main__":
    raise SystemExit(main())
