"""Runs a program on cases, and returns results as those of the checks of a server."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from conformance.harness.result import Result
from conformance.harness.runner import ERROR_RATE
from conformance.http.exchange import Exchange, truncate
from conformance.vectors.comparing import compare
from conformance.vectors.folder import Header
from conformance.vectors.lines import Case
from conformance.vectors.program import Program, question
from conformance.verdicts import (
    Depth,
    Evidence,
    Inconclusive,
    Level,
    Outcome,
    ServerError,
    Verdict,
)

Families = Sequence[tuple[Header, Sequence[Case]]]
OnResult = Callable[[Result], None]


def check_program(
    command: str,
    directory: Path,
    families: Families,
    seconds: float,
    on_result: OnResult = lambda result: None,
) -> tuple[list[Result], list[str]]:
    """Return the result of each case, in order, and complaints about the program's output.

    seconds: the longest time without an answer. Raises CannotStart.
    """
    known = {case.id: (header, case) for header, cases in families for case in cases}
    alpha, results, strays = error_rate(families), dict[str, Result](), list[str]()

    def add(identity: str, outcome: Outcome | None, text: str, start: float) -> None:
        results[identity] = result_of(*known[identity], outcome, command, text, start)
        on_result(results[identity])

    with Program(command, directory, seconds) as program:
        start = time.monotonic()
        for answer, text in program.answers([case for _, case in known.values()]):
            identity = answer.get("id") if isinstance(answer, dict) else None
            if not isinstance(identity, str) or identity not in known or identity in results:
                strays.append(text)
                continue
            header, case = known[identity]
            add(identity, compare(case, header["compare"], answer, alpha), text, start)
            start = time.monotonic()
            if len(results) == len(known):
                break
        ending = program.ending() if len(results) < len(known) else ""
    for identity, outcome in unanswered([i for i in known if i not in results], ending):
        add(identity, outcome, "", time.monotonic())
    return [results[identity] for identity in known], complaints(strays)


def error_rate(families: Families) -> float:
    """Return the error rate of one test of samples: that of a run, divided by their number."""
    sampled = sum(len(cases) for header, cases in families if is_statistical(header))
    return ERROR_RATE / max(1, sampled)


def is_statistical(header: Header) -> bool:
    return any(rule["rule"] == "samples" for rule in header["compare"].values())


def unanswered(identities: Sequence[str], ending: str) -> Iterator[tuple[str, Outcome]]:
    """Yield the outcomes of the cases without an answer. The first one shows why."""
    for i, identity in enumerate(identities):
        yield identity, ServerError(ending) if i == 0 else Inconclusive(f"not answered: {ending}")


def complaints(strays: Sequence[str]) -> list[str]:
    if not strays:
        return []
    return [
        f"the output has {len(strays)} lines that are not the answer to an open case, the first "
        f"is {truncate(strays[0])[:200]!r}"
    ]


def result_of(
    header: Header, case: Case, outcome: Outcome | None, command: str, text: str, start: float
) -> Result:
    """Return the result of one case. command: empty if no program has run."""
    return Result(
        id=case.id,
        parameter=case.family,
        clause=" ".join(filter(None, (header["statement"], case.comment))),
        level=Level.MUST,
        evidence=Evidence.STATISTICAL if is_statistical(header) else Evidence.EXACT,
        depth=Depth.TRUTH,
        spec=header["function"],
        verdict=outcome.verdict if outcome else Verdict.PASS,
        note=truncate(outcome.note) if outcome else "",
        expected=truncate(outcome.expected) if outcome else "",
        seen=truncate(outcome.seen) if outcome else "",
        at=exchange(case, command, text) if outcome and command else None,
        requests=1,
        seconds=round(time.monotonic() - start, 3),
    )


def exchange(case: Case, command: str, text: str) -> Exchange:
    """Return the line that the program got, and its answer."""
    sent = question(case).strip()
    return Exchange(
        method="stdin",
        url=command,
        headers={},
        body=truncate(sent),
        command=f"printf '%s\\n' {shlex.quote(truncate(sent))} | {command}",
        response=truncate(text),
    )


def judged(families: Families, samples: dict[str, Any], on_result: OnResult) -> list[Result]:
    """Return the results of sampled tokens, by the id of their case, without a program."""
    results = []
    alpha = error_rate(families)
    for header, cases in families:
        for case in cases:
            start = time.monotonic()
            if case.id in samples:
                answer = {"tokens": samples[case.id]}
                outcome = compare(case, header["compare"], answer, alpha)
            else:
                outcome = Inconclusive("the file has no samples of this case")
            results.append(
                result_of(header, case, outcome, "", str(samples.get(case.id, "")), start)
            )
            on_result(results[-1])
    return results
