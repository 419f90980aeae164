"""Features of a server that a check may need in addition to the parameter that it tests.

Each is probed once per run. If it is missing, the check is UNSUPPORTED; the check of the feature
itself reports what is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from conformance.fixtures import images
from conformance.harness.once import once_per_run
from conformance.http.client import PROMPT, Server
from conformance.http.response import TOKEN_ID
from conformance.verdicts import (
    Failed,
    Inconclusive,
    NotApplicable,
    Outcome,
    ServerError,
    Unsupported,
)


@dataclass(frozen=True)
class Capability:
    """A feature of a server, identified by its name. probe: raises an Outcome if it is missing."""

    name: str
    probe: Callable[[Server], None] = field(repr=False)


def require_capability(server: Server, capability: Capability) -> None:
    """Raise Unsupported if a server lacks a capability, Inconclusive if that is unknown,
    NotApplicable if it cannot have it, ServerError if the probe fails.
    """
    problem = probe_result(server, capability)
    if problem is None:
        return
    if isinstance(problem, Inconclusive | NotApplicable):
        raise type(problem)(problem.note)
    kind = ServerError if isinstance(problem, ServerError) else Unsupported
    outcome = kind(f"needs {capability.name}: {problem}", at=problem.at)
    outcome.cause = outcome.note
    raise outcome


def has(server: Server, capability: Capability) -> bool:
    """Return whether a server has a capability, for checks that can do without it."""
    try:
        require_capability(server, capability)
    except Outcome:
        return False
    return True


@once_per_run
def probe_result(server: Server, capability: Capability) -> Outcome | None:
    """Return why a capability is missing. A server error may be temporary, so it is retried once.

    The probe has a client of its own: its random numbers do not depend on the check that is first.
    """
    probe_server = server.target.server(capability.name)
    try:
        try:
            capability.probe(probe_server)
        except ServerError:
            capability.probe(probe_server)
    except Outcome as outcome:
        return outcome
    return None


def unique_token_names(server: Server) -> dict[str, Any]:
    """Return request fields that make token strings unique, if the server supports them."""
    return {"return_tokens_as_token_ids": True} if has(server, TOKEN_IDS) else {}


def logprobs(server: Server) -> None:
    answer = server.complete(max_tokens=2, logprobs=2)
    columns = answer.choice.logprobs
    if not columns.tokens or not all(isinstance(top, dict) for top in columns.top):
        raise Failed("logprobs with top_logprobs", answer.choice.json, at=answer.at)


def token_ids(server: Server) -> None:
    answer = server.complete(max_tokens=2, logprobs=1, return_tokens_as_token_ids=True)
    if not all(TOKEN_ID.fullmatch(str(name)) for name in answer.choice.logprobs.tokens):
        raise Failed("token_id:…", answer.choice.logprobs.tokens, at=answer.at)


def echo(server: Server) -> None:
    answer = server.complete(max_tokens=1, echo=True)
    if not answer.text.startswith(PROMPT):
        raise Failed(f"a text that begins with {PROMPT!r}", answer.text, at=answer.at)


def prompt_logprobs(server: Server) -> None:
    answer = server.complete(max_tokens=1, echo=True, logprobs=1)
    columns = answer.choice.logprobs
    if len(columns.tokens) < 3 or columns.values[0] is not None:
        raise Failed("logprobs of the prompt, null for its first token", columns, at=answer.at)


def multiple_choices(server: Server) -> None:
    answer = server.complete(
        n=2, max_tokens=1, temperature=1
    )  # some servers refuse n > 1 if greedy
    if len(answer.choices) != 2:
        raise Failed("two choices", f"{len(answer.choices)}", at=answer.at)


def prompt_lists(server: Server) -> None:
    answer = server.complete(prompt=[PROMPT, PROMPT], max_tokens=1)
    if len(answer.choices) != 2:
        raise Failed("two choices", f"{len(answer.choices)}", at=answer.at)


def prompt_ids(server: Server) -> None:
    answer = server.complete(prompt=[5, 6, 7], max_tokens=1)
    if answer.prompt_tokens != 3:
        raise Failed("3 prompt tokens", answer.prompt_tokens, at=answer.at)


def stream(server: Server) -> None:
    events = server.stream(max_tokens=2)
    if not events.parts:
        raise Failed("events with choices", events.text[:300], at=events.at)


def seeds(server: Server) -> None:
    """Require equal texts from one seed, and different texts from several, at temperature 1.5."""
    fields = {"temperature": 1.5, "max_tokens": 12}
    same = [server.complete(seed=7, **fields).text for _ in range(3)]
    if len(set(same)) > 1:
        raise Failed("equal texts from one seed", same, at=server.last)
    others = [server.complete(seed=s, **fields).text for s in range(4)]
    if len({*same, *others}) == 1:
        raise Failed("different texts from different seeds", others, at=server.last)


def api_key(server: Server) -> None:
    if server.target.api_key is None:
        raise NotApplicable("needs --api-key: authentication cannot be tested without a key")


def auth_enforced(server: Server) -> None:
    api_key(server)
    if server.send(server.body(), headers={"content-type": "application/json"}).status == 200:
        raise NotApplicable("the server does not require a key")


def known_context_length(server: Server) -> None:
    """Require `max_model_len` in /v1/models, which several servers report."""
    if context_length(server) is None:
        raise Inconclusive("the server does not report its context length")


def context_length(server: Server) -> int | None:
    """Return the context length in tokens that /v1/models reports, None if it does not."""
    reply = server.send(method="GET", url=f"{server.target.base}/models")
    if reply.status != 200:
        return None
    for entry in reply.json.get("data") or ():
        if isinstance(entry, dict) and entry.get("id") == server.target.model:
            length = entry.get("max_model_len")
            return length if isinstance(length, int) else None
    return None


def cached_tokens(server: Server) -> None:
    if (answer := server.complete()).cached_tokens is None:
        raise Failed("usage.prompt_tokens_details.cached_tokens", answer.usage, at=answer.at)


def vision(server: Server) -> None:
    """Require that an image is accepted. A text-only model is not a fault: NOT-APPLICABLE."""
    data = {"image": [images.mosaic_uri(0)]}
    try:
        server.complete(prompt=f"{images.PLACEHOLDER}\n{PROMPT}", max_tokens=1, data=data)
    except Unsupported as refusal:
        raise NotApplicable("the model is text-only", at=refusal.at) from refusal


LOGPROBS = Capability("logprobs", logprobs)
TOKEN_IDS = Capability("return_tokens_as_token_ids", token_ids)
ECHO = Capability("echo", echo)
PROMPT_LOGPROBS = Capability("echo with logprobs", prompt_logprobs)
MULTIPLE_CHOICES = Capability("n", multiple_choices)
PROMPT_LISTS = Capability("lists of prompts", prompt_lists)
PROMPT_IDS = Capability("prompts of token ids", prompt_ids)
STREAM = Capability("stream", stream)
SEEDS = Capability("seed", seeds)
API_KEY = Capability("an API key", api_key)
AUTH_ENFORCED = Capability("authentication", auth_enforced)
CONTEXT_LENGTH = Capability("a known context length", known_context_length)
CACHED_TOKENS = Capability("cached_tokens", cached_tokens)
VISION = Capability("a vision-language model", vision)
