"""The commands that publish results: a site of several servers, and a badge."""

import argparse
import json

from conformance.cli.inputs import CannotRun, ensure_writable, read_report, save
from conformance.reports import markdown
from conformance.reports import site as pages
from conformance.reports.badge import badge as badge_of


def site(options: argparse.Namespace) -> int:
    """Record runs in a directory, and write a static site of all that it has."""
    ensure_writable(options, "markdown")
    runs = [(path.stem, read_report(path)) for path in options.runs]
    try:
        count = pages.update(options.out, runs, options.order)
        reports = pages.read(options.out, options.order)
    except OSError as error:
        raise CannotRun(f"OUT {options.out}: {error.strerror}") from error
    except ValueError as error:
        raise CannotRun(f"OUT {options.out}: {error}") from error
    if not count:
        raise CannotRun(f"OUT {options.out}: has no results, and no NAME.json is given")
    save(options, "markdown", lambda: markdown.page([r for r in reports.values() if r.results]))
    print(f"{options.out / 'index.html'}: {count} servers")
    return 0


def badge(options: argparse.Namespace) -> int:
    """Write the badge of a run as JSON."""
    ensure_writable(options, "out")
    text = json.dumps(badge_of(read_report(options.run), options.label)) + "\n"
    save(options, "out", lambda: text)
    if options.out is None:
        print(text, end="")
    return 0
