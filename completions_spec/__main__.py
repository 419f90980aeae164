"""python -m completions_spec: the same as the command `completions-spec`."""

import sys

from completions_spec.commands import main

if __name__ == "__main__":
    sys.exit(main())
