"""Options turned into checks, a target and files. An invalid one is a CannotRun that names it."""

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
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
from conformance.http.response import Completion, Json
from conformance.oracle.preflight import Agreement, DifferentWeights, measure_agreement
from conformance.oracle.reference_oracle import ReferenceOracle
from conformance.third_party import conformance_checkpoint
from conformance.verdicts import Failed, Outcome, ServerError
from reference.bundle import EMBEDDED, load_bundle

DIGEST_VALUES = 4096  # at both ends of a tensor
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
    profile = registry.PROFILES[options.profile]
    checks = [c for c in checks if profile is None or c.parameter in profile]
    if not checks:
        raise CannotRun("--only, --skip, --depth and --profile leave no check")
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
    if options.truth == "conformance":
        with TemporaryDirectory() as temporary:
            conformance_checkpoint.write(Path(temporary))
            return ReferenceOracle(load_bundle(temporary))
    directory = EMBEDDED / "text" if options.truth == "embedded" else Path(options.truth)
    if not directory.is_dir():
        raise CannotRun(f"--truth {directory}: no such directory")
    try:
        return ReferenceOracle(load_bundle(directory))
    except (ValueError, OSError) as error:
        raise CannotRun(f"--truth {error}") from error


def compare_weights(
    target: Target, truth: str, tolerance: float | None
) -> tuple[Target, Agreement | None]:
    """Return a target whose oracle has the tolerance that a preflight measures.

    truth: the option. Raises CannotRun if the server has other weights than the checkpoint.
    """
    oracle = target.oracle
    if not isinstance(oracle, ReferenceOracle):
        return target, None
    try:
        agreement = measure_agreement(target.server("preflight"), oracle, tolerance)
    except DifferentWeights as error:
        raise CannotRun(f"--truth {truth}: {error}") from error
    except Outcome as outcome:
        raise CannotRun(f"--truth: the server cannot be compared: {outcome.note}") from outcome
    names = agreement.stripped_names
    measured = ReferenceOracle(oracle.model, agreement.tolerance, stripped_names=names)
    return replace(target, oracle=measured), agreement


def checkpoint_digest(target: Target) -> str | None:
    """Return a digest of the weights of --truth: of the size and both ends of each tensor."""
    if not isinstance(target.oracle, ReferenceOracle):
        return None
    weights = target.oracle.model.checkpoint.weights
    digest = hashlib.sha256()
    tensors = [weights.embedding, weights.norm, weights.lm_head]
    for layer in weights.layers:
        tensors += [layer.q_proj.weight, layer.o_proj.weight, layer.down_proj.weight]
    for tensor in tensors:
        flat = tensor.reshape(-1)
        digest.update(f"{tensor.shape}".encode())
        digest.update(flat[:DIGEST_VALUES].tobytes() + flat[-DIGEST_VALUES:].tobytes())
    return digest.hexdigest()[:16]


def ensure_reachable(target: Target) -> str | None:
    """Return the server's `system_fingerprint`, if it has one.

    Raises CannotRun unless a plain request is answered by a completion: else no check makes sense.
    """
    url = f"URL {target.base}/completions"
    try:
        reply = target.server("reachable").post()
    except (ServerError, httpx.InvalidURL, ValueError) as error:
        raise CannotRun(f"{url}: {error}") from error
    start = reply.at.response[:300]
    if location := reply.headers.get("location") if 300 <= reply.status < 400 else None:
        raise CannotRun(f"{url} redirects a plain request to {location} ({reply.status})")
    if reply.status != 200:
        seen = f"{reply.status}{HINTS.get(reply.status, '')}: {start}"
        raise CannotRun(f"{url} answers a plain request with {seen}")
    try:
        body = reply.json
    except Failed:
        problem = "answers a plain request with a body that is not a JSON object"
        raise CannotRun(f"{url} {problem}: {start}") from None
    if is_chat(body):
        raise CannotRun(f"{url} is a chat endpoint, not a text-completions endpoint: {start}")
    try:
        Completion(body, reply.at).choices[0].text  # noqa: B018
    except (Failed, IndexError, ValueError, TypeError):
        problem = "is not a completions endpoint: choices[0].text is missing"
        raise CannotRun(f"{url} {problem}: {start}") from None
    fingerprint = body.get("system_fingerprint")
    return fingerprint if isinstance(fingerprint, str) else None


def is_chat(body: Json) -> bool:
    """Return whether a response is that of a chat endpoint."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    has_message = isinstance(first, dict) and "message" in first and "text" not in first
    return str(body.get("object")).startswith("chat.completion") or has_message


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
