"""For CI: a suite for each parameter, a case for each check."""

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from conformance.harness.result import Report, Result
from conformance.reports.shown import line, visible
from conformance.reports.table import by_parameter
from conformance.verdicts import Verdict

Kind = type[Failure] | type[Error] | type[Skipped]
KINDS: dict[Verdict, Kind] = {
    Verdict.FAIL: Failure,
    Verdict.NON_STRICT: Failure,
    Verdict.ERROR: Error,
    Verdict.UNSUPPORTED: Skipped,
    Verdict.INCONCLUSIVE: Skipped,
}


def document(report: Report) -> str:
    """What is expected is skipped, with the reason. What is wrong with the expectations fails."""
    whole = JUnitXml(visible(f"{report.server}, {report.model}"))
    for parameter, results in by_parameter(report.results).items():
        whole.add_testsuite(suite(parameter, [case(r) for r in results]))
    if report.complaints:
        whole.add_testsuite(suite("expectations", [complaint(c) for c in report.complaints]))
    return str(whole.tostring().decode())  # type: ignore[no-untyped-call]


def suite(name: str, cases: list[TestCase]) -> TestSuite:
    found = TestSuite(name)
    found.add_testcases(cases)
    return found


def case(result: Result) -> TestCase:
    found = TestCase(result.id, result.parameter, result.seconds)
    if result.verdict is not Verdict.PASS:
        found.result = [ending(result)]
    return found


def ending(result: Result) -> Failure | Error | Skipped:
    """Why a check did not pass: in one line, and at length."""
    if result.reason is not None:
        return Skipped(line(f"expected: {result.reason}"), result.verdict)
    found = KINDS[result.verdict](line(result.told), result.verdict)
    found.text = visible(at_length(result))
    return found


def at_length(result: Result) -> str:
    parts = [result.clause, result.told]
    if result.at:
        parts += [result.at.curl, f"{result.at.status or 'no answer'}: {result.at.response}"]
    return "\n\n".join(parts)


def complaint(text: str) -> TestCase:
    found = TestCase(line(text), "expectations")
    found.result = [Failure(line(text), "expectation")]
    return found
