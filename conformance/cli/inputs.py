"""What a command is given, made into what it works with. Whatever is wrong with it is a CannotRun
that names the option.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from conformance.cli import expectations
from conformance.cli.expectations import Expectation, problems
from conformance.harness import registry
from conformance.harness.registry import Check
from conformance.harness.result import Report
from conformance.http.client import Budget, Target, base_of
from conformance.oracle.truth import TOLERANCE, Truth
from conformance.verdicts import Broken, Failed
from reference.bundle import load_bundle

HINTS = {401: " (--api-key)", 403: " (--api-key)", 404: " (URL, --model)"}


class CannotRun(Exception):
    """Why there is nothing to report."""


def chosen(options: argparse.Namespace) -> list[Check]:
    """The checks that are asked for; at least one."""
    for name in "only", "skip":
        try:
            registry.selected(getattr(options, name))
        except ValueError as error:
            raise CannotRun(f"--{name} {error}; `list` shows them all") from error
    found = registry.selected(options.only, options.skip)
    found = [c for c in found if not options.depth or c.depth in options.depth]
    if not found:
        raise CannotRun("--only, --skip and --depth leave no check")
    return found


def expected_by(options: argparse.Namespace) -> list[Expectation]:
    try:
        return expectations.read(options.expect) if options.expect else []
    except ValueError as error:
        raise CannotRun(f"--expect {error}") from error


def target_of(options: argparse.Namespace, http: httpx.Client) -> Target:
    return Target(
        base=address(options.url),
        model=options.model,
        http=http,
        api_key=options.api_key,
        truth=truth_of(options),
        seed=options.seed,
        budget=Budget(options.max_requests),
    )


def address(url: str) -> str:
    """Where `/completions` is. A password in it would be in every report."""
    try:
        base = base_of(url)
        parts = urlsplit(base)
        well = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well = False
    if not well or parts.query or parts.fragment:
        raise CannotRun(f"URL {url!r} is no address like http://127.0.0.1:8000/v1")
    if "@" in parts.netloc:
        raise CannotRun("URL: a name or password must not stand in it; --api-key takes a key")
    return base


def truth_of(options: argparse.Namespace) -> Truth | None:
    if options.truth is None:
        if options.tolerance is not None:
            raise CannotRun("--tolerance is of no use without --truth")
        return None
    try:
        return Truth(load_bundle(options.truth), options.tolerance or TOLERANCE)
    except (ValueError, OSError) as error:
        raise CannotRun(f"--truth {error}") from error


def reachable(target: Target) -> None:
    """Raises CannotRun if a plain request fails: then nothing else needs to be tried."""
    where = f"URL {target.base}/completions"
    try:
        reply = target.server("reachable").post()
    except (Broken, httpx.InvalidURL, ValueError) as error:
        raise CannotRun(f"{where}: {error}") from error
    if reply.status != 200:
        seen = f"{reply.status}{HINTS.get(reply.status, '')}: {reply.at.response[:300]}"
        raise CannotRun(f"{where} answers a plain request with {seen}")
    try:
        reply.json  # noqa: B018
    except Failed:
        raise CannotRun(f"{where} answers with no JSON object: {reply.at.response[:300]}") from None


def can_be_written(options: argparse.Namespace, *names: str) -> None:
    """It would be a pity to find out after all requests."""
    for name in names:
        path = getattr(options, name)
        if path and (path.is_dir() or not path.resolve().parent.is_dir()):
            raise CannotRun(f"--{name} {path}: no file can be written there")


def save(options: argparse.Namespace, name: str, text: Callable[[], str]) -> None:
    """A file, if an option asks for it."""
    path = getattr(options, name)
    if path is None:
        return
    try:
        path.write_text(text(), "utf-8")
    except OSError as error:
        raise CannotRun(f"--{name} {path}: {error.strerror}") from error


def read(path: Path) -> Report:
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CannotRun(f"RUN.json {path}: {error.strerror}") from error
    except ValidationError as error:
        raise CannotRun(f"RUN.json {path}: {problems(error)}") from error
