"""python -m conformance run URL --model NAME

Other commands: list, explain, compare, site, badge, checkpoint, parity, vectors.
"""

import sys
from collections.abc import Sequence

from conformance.cli import commands
from conformance.cli.arguments import PROG, build_parser
from conformance.cli.inputs import CannotRun
from conformance.cli.progress import INTERRUPTED
from conformance.reports.printable import one_line


def main(arguments: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Return the exit status. prog: the command's name in its help.

    0: no findings. 1: findings. 2: the command could not run; one line on stderr gives the reason.
    130: Ctrl-C.
    """
    options = build_parser(prog).parse_args(arguments)
    try:
        return commands.COMMANDS[options.command](options)
    except CannotRun as error:
        print(f"error: {one_line(' '.join(str(error).split()), 600)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
