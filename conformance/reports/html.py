"""One page that needs nothing else: no script, no font, no address to fetch from."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from conformance.harness.result import Report
from conformance.reports.shown import visible
from conformance.reports.view import groups
from conformance.verdicts import Verdict

# Besides colour and word, for who skims.
MARKS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✕",
    Verdict.NON_STRICT: "≈",
    Verdict.UNSUPPORTED: "–",
    Verdict.INCONCLUSIVE: "?",
    Verdict.ERROR: "!",
}
MEANINGS = {
    Verdict.PASS: "the clause holds, as far as was looked",
    Verdict.FAIL: "it does not",
    Verdict.NON_STRICT: "it does not, in a way that is known of other engines and named",
    Verdict.UNSUPPORTED: "the server refuses the parameter, or lacks what the check needs",
    Verdict.INCONCLUSIVE: "nothing was found out",
    Verdict.ERROR: "the server broke, or its answer could not be read",
}


def page(reports: Sequence[Report]) -> str:
    """A column for each run. Whatever a server sent is text in it, never markup."""
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            reports=reports,
            groups=groups(reports),
            verdicts=list(Verdict),
            marks=MARKS,
            meanings=MEANINGS,
        )
    )


def environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"kind": kind, "prose": prose}
    return found


def shown(value: object) -> object:
    """Whatever stands in the page passes through here, before it is escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def prose(text: str) -> Markup:
    """What is between backticks is code; all else is text."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))


def kind(verdict: Verdict) -> str:
    """The class of style."""
    return verdict.lower()
