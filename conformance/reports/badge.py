"""The result of a run as a badge: the JSON that shields.io reads from an address
(https://shields.io/badges/endpoint-badge).
"""

from conformance.harness.result import FINDINGS, Report
from conformance.verdicts import Verdict

# Of the share of checks that pass.
COLORS = {1.0: "brightgreen", 0.9: "green", 0.75: "yellow", 0.5: "orange", 0.0: "red"}


def badge(report: Report, label: str | None = None) -> dict[str, str | int]:
    """Return the badge: "336 of 340 checks". A known deviation counts as one that does not pass.

    label: the left side; by default the version of the specification.
    """
    passed = report.count(Verdict.PASS)
    decided = passed + sum(report.count(verdict) for verdict in FINDINGS)
    message, color = "no result", "lightgrey"
    if decided:
        message = f"{passed} of {decided} checks"
        color = next(color for least, color in COLORS.items() if passed / decided >= least)
    label = f"completions spec {report.spec}" if label is None else label
    return {"schemaVersion": 1, "label": label, "message": message, "color": color}
