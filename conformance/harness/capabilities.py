"""What a check may need of a server beside the parameter it looks at. Each is tried once.

Whether the parameter itself is honoured is a check of its own; what depends on it is UNSUPPORTED.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from conformance.fixtures import images
from conformance.http.client import PROMPT, Server
from conformance.verdicts import Broken, Failed, Inconclusive, Outcome, Unsupported

TOKEN_ID = re.compile(r"token_id:(\d+)")


@dataclass(frozen=True)
class Capability:
    """Something a server can do. probe: raises an Outcome if it cannot."""

    name: str
    probe: Callable[[Server], None]


def demand(server: Server, capability: Capability) -> None:
    """Raise Unsupported if a server lacks a capability, Inconclusive if that is not known, Broken
    if the server is.
    """
    target = server.target
    with target.lock:
        lock = target.locks.setdefault(capability.name, threading.Lock())
    with lock:
        if capability.name not in target.facts:
            target.facts[capability.name] = missing(target.server(capability.name), capability)
    problem = target.facts[capability.name]
    if isinstance(problem, Inconclusive):
        raise Inconclusive(problem.note)
    if isinstance(problem, Broken):
        raise Broken(f"needs {capability.name}: {problem}", at=problem.at)
    if problem is not None:
        raise Unsupported(f"needs {capability.name}: {problem}", at=problem.at)


def has(server: Server, capability: Capability) -> bool:
    """Whether a server has a capability that a check can do without."""
    try:
        demand(server, capability)
    except Outcome:
        return False
    return True


def missing(server: Server, capability: Capability) -> Outcome | None:
    """Why it is missing; what is broken may be so for a moment, and is tried twice."""
    try:
        try:
            capability.probe(server)
        except Broken:
            capability.probe(server)
    except Outcome as outcome:
        return outcome
    return None


def logprobs(server: Server) -> None:
    answer = server.ask(max_tokens=2, logprobs=2)
    rows = answer.choice.rows
    if not rows.tokens or not all(isinstance(top, dict) for top in rows.top):
        raise Failed("rows with top_logprobs", answer.choice.json, at=answer.at)


def token_ids(server: Server) -> None:
    answer = server.ask(max_tokens=2, logprobs=1, return_tokens_as_token_ids=True)
    if not all(TOKEN_ID.fullmatch(str(name)) for name in answer.choice.rows.tokens):
        raise Failed("token_id:…", answer.choice.rows.tokens, at=answer.at)


def echo(server: Server) -> None:
    answer = server.ask(max_tokens=1, echo=True)
    if not answer.text.startswith(PROMPT):
        raise Failed(f"a text that begins with {PROMPT!r}", answer.text, at=answer.at)


def echoed_rows(server: Server) -> None:
    answer = server.ask(max_tokens=1, echo=True, logprobs=1)
    rows = answer.choice.rows
    if len(rows.tokens) < 3 or rows.values[0] is not None:
        raise Failed("rows for the prompt, the first without a number", rows, at=answer.at)


def several(server: Server) -> None:
    answer = server.ask(n=2, max_tokens=1, temperature=1)  # greedy choices are refused by some
    if len(answer.choices) != 2:
        raise Failed("two choices", f"{len(answer.choices)}", at=answer.at)


def lists(server: Server) -> None:
    answer = server.ask(prompt=[PROMPT, PROMPT], max_tokens=1)
    if len(answer.choices) != 2:
        raise Failed("two choices", f"{len(answer.choices)}", at=answer.at)


def ids(server: Server) -> None:
    answer = server.ask(prompt=[5, 6, 7], max_tokens=1)
    if answer.prompt_tokens != 3:
        raise Failed("3 prompt tokens", answer.prompt_tokens, at=answer.at)


def events(server: Server) -> None:
    stream = server.stream(max_tokens=2)
    if not stream.parts:
        raise Failed("events with choices", stream.text[:300], at=stream.at)


def seeds(server: Server) -> None:
    """At temperature 1.5 three texts of one seed are equal, and four of other seeds are not."""
    fields = {"temperature": 1.5, "max_tokens": 12}
    same = [server.ask(seed=7, **fields).text for _ in range(3)]
    if len(set(same)) > 1:
        raise Failed("equal texts of one seed", same, at=server.last)
    others = [server.ask(seed=s, **fields).text for s in range(4)]
    if len({*same, *others}) == 1:
        raise Failed("different texts of different seeds", others, at=server.last)


def key(server: Server) -> None:
    if server.target.api_key is None:
        raise Inconclusive("needs --api-key: without one nobody is kept out")


def doors(server: Server) -> None:
    key(server)
    if server.send(server.body(), headers={"content-type": "application/json"}).status == 200:
        raise Inconclusive("the server asks nobody for a key")


def context(server: Server) -> None:
    """`max_model_len` of /v1/models, which several servers have."""
    if context_length(server) is None:
        raise Inconclusive("the server does not say how long its context is")


def context_length(server: Server) -> int | None:
    """In tokens, as the list of models says."""
    reply = server.send(method="GET", url=f"{server.target.base}/models")
    if reply.status != 200:
        return None
    for entry in reply.json.get("data") or ():
        if isinstance(entry, dict) and entry.get("id") == server.target.model:
            found = entry.get("max_model_len")
            return found if isinstance(found, int) else None
    return None


def cached_tokens(server: Server) -> None:
    if (answer := server.ask()).cached_tokens is None:
        raise Failed("usage.prompt_tokens_details.cached_tokens", answer.usage, at=answer.at)


def eyes(server: Server) -> None:
    """A picture in a prompt is taken. A model that reads text only is nobody's fault."""
    data = {"image": [images.shown(0)]}
    try:
        server.ask(prompt=f"{images.PLACEHOLDER}\n{PROMPT}", max_tokens=1, data=data)
    except Unsupported as refusal:
        raise Inconclusive("the model reads text only", at=refusal.at) from refusal


LOGPROBS = Capability("logprobs", logprobs)
TOKEN_IDS = Capability("return_tokens_as_token_ids", token_ids)
ECHO = Capability("echo", echo)
ECHOED_ROWS = Capability("echo with logprobs", echoed_rows)
SEVERAL = Capability("n", several)
PROMPT_LISTS = Capability("lists of prompts", lists)
PROMPT_IDS = Capability("prompts of token ids", ids)
STREAM = Capability("stream", events)
SEEDS = Capability("seed", seeds)
KEY = Capability("a key", key)
DOORS = Capability("a key that is asked for", doors)
CONTEXT = Capability("a known context", context)
CACHED_TOKENS = Capability("cached_tokens", cached_tokens)
EYES = Capability("a model that sees", eyes)
