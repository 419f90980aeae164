"""JUnit XML for CI: a suite for each parameter, a case for each check."""

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from conformance.harness.result import Report, Result
from conformance.reports.printable import one_line, printable
from conformance.reports.table import by_parameter
from conformance.verdicts import Verdict

Kind = type[Failure] | type[Error] | type[Skipped]
KINDS: dict[Verdict, Kind] = {
    Verdict.FAIL: Failure,
    Verdict.NON_STRICT: Failure,
    Verdict.ERROR: Error,
    Verdict.UNSUPPORTED: Skipped,
    Verdict.INCONCLUSIVE: Skipped,
    Verdict.NOT_APPLICABLE: Skipped,
}


def document(report: Report) -> str:
    """Render a report.

    Excused results, and those with the cause of another one, are skipped. Complaints about
    expectations are failures.
    """
    xml = JUnitXml(printable(f"{report.server}, {report.model}"))
    for parameter, results in by_parameter(report.results).items():
        xml.add_testsuite(suite(parameter, [case(r) for r in results]))
    if report.complaints:
        xml.add_testsuite(suite("expectations", [complaint(c) for c in report.complaints]))
    return str(xml.tostring().decode())  # type: ignore[no-untyped-call]


def suite(name: str, cases: list[TestCase]) -> TestSuite:
    result = TestSuite(name)
    result.add_testcases(cases)
    return result


def case(result: Result) -> TestCase:
    test_case = TestCase(result.id, result.parameter, result.seconds)
    if result.verdict is not Verdict.PASS:
        test_case.result = [outcome(result)]
    return test_case


def outcome(result: Result) -> Failure | Error | Skipped:
    """Return the reason why a check did not pass, with a short and a long text."""
    if result.reason is not None:
        return Skipped(one_line(f"expected: {result.reason}"), result.verdict)
    if result.same_as is not None:
        return Skipped(one_line(f"{result.cause}: see {result.same_as}"), result.verdict)
    problem = KINDS[result.verdict](one_line(result.summary), result.verdict)
    problem.text = printable(full_text(result))
    return problem


def full_text(result: Result) -> str:
    parts = [result.clause, result.summary]
    if result.at:
        parts += [result.at.curl, f"{result.at.status or 'no response'}: {result.at.response}"]
    return "\n\n".join(parts)


def complaint(text: str) -> TestCase:
    test_case = TestCase(one_line(text), "expectations")
    test_case.result = [Failure(one_line(text), "expectation")]
    return test_case
