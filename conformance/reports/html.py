"""One self-contained HTML page: no script, no font, nothing to fetch."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from conformance.harness.result import Report
from conformance.reports.printable import printable
from conformance.reports.view import groups
from conformance.verdicts import Verdict

# Shown in addition to color and word.
MARKS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✕",
    Verdict.NON_STRICT: "≈",
    Verdict.UNSUPPORTED: "–",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_APPLICABLE: "○",
    Verdict.ERROR: "!",
}
MEANINGS = {
    Verdict.PASS: "the clause holds in all cases tried",
    Verdict.FAIL: "the clause does not hold",
    Verdict.NON_STRICT: "it does not hold, in a named way that is known from other engines",
    Verdict.UNSUPPORTED: "the server refuses the parameter, or lacks what the check needs",
    Verdict.INCONCLUSIVE: "the check could not decide",
    Verdict.NOT_APPLICABLE: "the clause does not concern this server or this run",
    Verdict.ERROR: "the server failed, or its response could not be read",
}


def page(reports: Sequence[Report], home: str | None = None) -> str:
    """Render a column for each run. Text from a server is never markup. home: a link to a page that
    leads here.
    """
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            reports=reports,
            home=home,
            groups=groups(reports),
            verdicts=list(Verdict),
            marks=MARKS,
            meanings=MEANINGS,
        )
    )


def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"kind": kind, "prose": prose}
    return env


def finalize(value: object) -> object:
    """Make each value of the page printable; Jinja escapes it afterwards."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def prose(text: str) -> Markup:
    """Render text, with code between backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(printable(text)))))


def kind(verdict: Verdict) -> str:
    """Return the CSS class of a verdict."""
    return verdict.lower()
