"""python -m conformance run URL --model NAME; also list, explain, compare, and parity."""

import sys
from collections.abc import Sequence

from conformance.cli import commands
from conformance.cli.arguments import parser
from conformance.cli.inputs import CannotRun
from conformance.cli.progress import INTERRUPTED
from conformance.reports.shown import line


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: nothing was found. 1: findings. 2: it could not run, and one line says why.
    130: Ctrl-C.
    """
    options = parser().parse_args(arguments)
    try:
        return commands.COMMANDS[options.command](options)
    except CannotRun as error:
        print(f"error: {line(' '.join(str(error).split()), 600)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
