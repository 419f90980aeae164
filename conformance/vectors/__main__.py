"""python -m conformance.vectors: the reference as a program under test.

    python -m conformance vectors check 'python -m conformance.vectors'

Reads cases from stdin, a line each, and writes the answers to stdout.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

from conformance.vectors.lines import line
from conformance.vectors.reference import ANSWERS, Answer, Input

Answers = Mapping[str, Callable[[Input], Answer]]


def respond(question: Mapping[str, Any], answers: Answers = ANSWERS) -> dict[str, Any]:
    """Return the answer to one case."""
    answer = answers.get(question["family"])
    if answer is None:
        return {"id": question["id"], "unsupported": True}
    return {"id": question["id"], **answer(question["input"])}


def main(source: Iterable[str] = sys.stdin, target: IO[str] = sys.stdout) -> int:
    for text in source:
        target.write(line(respond(json.loads(text))))
        target.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
