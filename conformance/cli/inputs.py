"""Options turned into checks, a target and files. An invalid one is a CannotRun that names it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from conformance.cli import expectations
from conformance.cli.expectations import Expectation, format_problems
from conformance.harness import registry
from conformance.harness.registry import Check
from conformance.harness.result import Report
from conformance.http.budget import Budget
from conformance.http.client import Target, api_base
from conformance.oracle.reference_oracle import TOLERANCE, ReferenceOracle
from conformance.verdicts import Failed, ServerError
from reference.bundle import load_bundle

HINTS = {401: " (--api-key)", 403: " (--api-key)", 404: " (URL, --model)"}


class CannotRun(Exception):
    """The command cannot run; the message is one line for the user."""


def selected_checks(options: argparse.Namespace) -> list[Check]:
    """Return the checks that the options select, at least one."""
    for name in "only", "skip":
        try:
            registry.selected(getattr(options, name))
        except ValueError as error:
            raise CannotRun(f"--{name} {error}; `list` shows them all") from error
    checks = registry.selected(options.only, options.skip)
    checks = [c for c in checks if not options.depth or c.depth in options.depth]
    if not checks:
        raise CannotRun("--only, --skip and --depth leave no check")
    return checks


def read_expectations(options: argparse.Namespace) -> list[Expectation]:
    try:
        return expectations.read(options.expect) if options.expect else []
    except ValueError as error:
        raise CannotRun(f"--expect {error}") from error


def build_target(options: argparse.Namespace, http: httpx.Client) -> Target:
    return Target(
        base=parse_url(options.url),
        model=options.model,
        http=http,
        api_key=options.api_key,
        oracle=load_oracle(options),
        seed=options.seed,
        budget=Budget(options.max_requests),
    )


def parse_url(url: str) -> str:
    """Return the base URL. A password is refused, because reports would show it."""
    try:
        base = api_base(url)
        parts = urlsplit(base)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise CannotRun(f"URL {url!r} must be an address like http://127.0.0.1:8000/v1")
    if "@" in parts.netloc:
        raise CannotRun("URL: must not contain a name or a password; use --api-key for a key")
    return base


def load_oracle(options: argparse.Namespace) -> ReferenceOracle | None:
    """Load the checkpoint of --truth; None without one."""
    if options.truth is None:
        if options.tolerance is not None:
            raise CannotRun("--tolerance requires --truth")
        return None
    try:
        return ReferenceOracle(load_bundle(options.truth), options.tolerance or TOLERANCE)
    except (ValueError, OSError) as error:
        raise CannotRun(f"--truth {error}") from error


def ensure_reachable(target: Target) -> None:
    """Raise CannotRun if a plain request fails: then each check would fail, too."""
    url = f"URL {target.base}/completions"
    try:
        reply = target.server("reachable").post()
    except (ServerError, httpx.InvalidURL, ValueError) as error:
        raise CannotRun(f"{url}: {error}") from error
    if reply.status != 200:
        seen = f"{reply.status}{HINTS.get(reply.status, '')}: {reply.at.response[:300]}"
        raise CannotRun(f"{url} answers a plain request with {seen}")
    try:
        reply.json  # noqa: B018
    except Failed:
        problem = "answers a plain request with a body that is not a JSON object"
        raise CannotRun(f"{url} {problem}: {reply.at.response[:300]}") from None


def ensure_writable(options: argparse.Namespace, *names: str) -> None:
    """Raise CannotRun before the first request if an output file cannot be written."""
    for name in names:
        path = getattr(options, name)
        if path and (path.is_dir() or not path.resolve().parent.is_dir()):
            raise CannotRun(f"--{name} {path}: cannot write a file there")


def save(options: argparse.Namespace, name: str, text: Callable[[], str]) -> None:
    """Write a file if its option is given."""
    path = getattr(options, name)
    if path is None:
        return
    try:
        path.write_text(text(), "utf-8")
    except OSError as error:
        raise CannotRun(f"--{name} {path}: {error.strerror}") from error


def read_report(path: Path) -> Report:
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CannotRun(f"RUN.json {path}: {error.strerror}") from error
    except ValidationError as error:
        raise CannotRun(f"RUN.json {path}: {format_problems(error)}") from error
