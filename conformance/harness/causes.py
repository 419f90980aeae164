"""Reasons that several checks of a server share: it refuses a parameter, or ignores it, or gives
equal requests different answers.

Each is probed at most once per run, and only if a check of the parameter fails.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from conformance.fixtures import images
from conformance.fixtures.parameters import MEANINGFUL
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.once import once_per_run
from conformance.http.client import PROMPT, Server, run_concurrently
from conformance.http.response import TOKEN_ID
from conformance.verdicts import Outcome, Unsupported, Verdict

RANDOM_TEXTS = 4
LENGTH = 16  # tokens of each text
REPEATED_PROMPTS = 6
VARIES = "equal greedy requests get different texts"


def explain(server: Server, parameter: str, outcome: Outcome) -> Outcome:
    """Return the outcome of a check with its cause, or Unsupported if a refusal explains it.

    parameter: that of the check. A refused parameter fails none of its checks.
    """
    if outcome.verdict not in (Verdict.FAIL, Verdict.NON_STRICT):
        return outcome
    at = outcome.at or server.last
    is_refusal = at is not None and at.status is not None and 400 <= at.status < 500
    if is_refusal and (refusal := refusal_of(server, parameter)) is not None:
        return refusal
    if outcome.verdict is Verdict.NON_STRICT:
        return outcome
    for name in outcome.suspects or (parameter,):
        if is_ignored(server, name):
            outcome.cause = f"{name} is ignored"
            return outcome
    if outcome.compares_texts and varies(server):
        outcome.cause = VARIES
    return outcome


@once_per_run
def refusal_of(server: Server, parameter: str) -> Unsupported | None:
    """Return the refusal of a request in which a parameter has a meaning; None if there is none."""
    fields = meaningful_fields(parameter)
    if fields is None:
        return None
    reply = server.target.server(f"refusal of {parameter}").post(**fields)
    if not 400 <= reply.status < 500:
        return None
    return Unsupported(f"answered {reply.status}: {reply.at.response[:300]}", at=reply.at)


def meaningful_fields(parameter: str) -> Mapping[str, Any] | None:
    """Return the fields of a request in which a parameter has a meaning; None for a topic."""
    if parameter == "data":
        prompt = f"{images.PLACEHOLDER}\n{PROMPT}"
        return {"prompt": prompt, "data": {"image": [images.mosaic_uri(0)]}}
    return MEANINGFUL.get(parameter)


@once_per_run
def is_ignored(server: Server, parameter: str) -> bool:
    """Return whether a parameter has no effect, at values that must have one."""
    probe = EFFECTS.get(parameter)
    try:
        return probe is not None and not probe(server.target.server(f"effect of {parameter}"))
    except Outcome:
        return False


@once_per_run
def varies(server: Server) -> bool:
    """Return whether greedy texts of equal requests differ: one after another, in another order,
    or at the same time. Then a difference of two texts says little about a parameter.
    """
    probe = server.target.server("repeated requests")
    body = {"max_tokens": 2 * LENGTH, "temperature": 0}

    def text(prompt: str) -> str:
        return probe.complete(prompt=prompt, **body).text

    prompts = PROMPTS[:REPEATED_PROMPTS]
    try:
        first = [text(prompt) for prompt in prompts]
        again = [text(prompt) for prompt in reversed(prompts)][::-1]
        together = run_concurrently([partial(text, prompt) for prompt in (*prompts, *prompts)])
    except Outcome:
        return False
    return not first == again == together[: len(prompts)] == together[len(prompts) :]


def texts(server: Server, count: int = 1, **fields: Any) -> list[str]:
    """Return the texts of one request, sent several times."""
    body = {"prompt": PROMPTS[0], "max_tokens": LENGTH} | fields
    return [server.complete(**body).text for _ in range(count)]


def all_differ(values: list[str]) -> bool:
    return len(set(values)) == len(values)


def temperature(server: Server) -> bool:
    greedy, random = (texts(server, RANDOM_TEXTS, temperature=t) for t in (0, 2))
    return not all_differ(greedy) and len(set(random)) > 1


def truncation(**fields: Any) -> Callable[[Server], bool]:
    """Return the probe of a parameter that keeps one token, and those that tie with it: after most
    prompts all first tokens are equal.
    """

    def has_effect(server: Server) -> bool:
        body = {"max_tokens": 1, "temperature": 2} | fields
        samples = [texts(server, RANDOM_TEXTS, prompt=prompt, **body) for prompt in PROMPTS[:6]]
        return sum(len(set(seen)) == 1 for seen in samples) * 2 >= len(samples)

    return has_effect


def penalty(name: str, *values: float) -> Callable[[Server], bool]:
    """Return the probe of a penalty, by its greedy texts."""

    def has_effect(server: Server) -> bool:
        bodies: list[dict[str, Any]] = [
            {"prompt": prompt, "max_tokens": 24} for prompt in PROMPTS[:4]
        ]
        calls = [
            lambda body=body, value=value: server.complete(**body | {name: value}).text
            for body in bodies
            for value in (..., *values)
        ]
        seen = run_concurrently(calls[:4]) + run_concurrently(calls[4:])
        size = 1 + len(values)
        return any(len(set(seen[i : i + size])) > 1 for i in range(0, len(seen), size))

    return has_effect


def max_tokens(server: Server) -> bool:
    short, long = (texts(server, max_tokens=count)[0] for count in (1, 8))
    return short != long


def number_of_choices(server: Server) -> bool:
    return len(server.complete(n=2, temperature=1, max_tokens=1).choices) > 1


def stream(server: Server) -> bool:
    reply = server.post(stream=True)
    return reply.headers.get("content-type", "").startswith("text/event-stream")


def logprobs(server: Server) -> bool:
    return server.complete(logprobs=2).choice.json.get("logprobs") is not None


def echo(server: Server) -> bool:
    return server.complete(echo=True).text.startswith(PROMPT)


def stop(server: Server) -> bool:
    [text] = texts(server)
    middle = len(text) // 2
    return len(text) < 3 or texts(server, stop=[text[middle : middle + 2]]) != [text]


def stop_token_ids(server: Server) -> bool:
    """Stop at the second token, if the server reports its id."""
    fields = {"logprobs": 1, "return_tokens_as_token_ids": True}
    plain = server.complete(**fields).choice
    ids = [TOKEN_ID.fullmatch(name) for name in plain.logprobs.tokens]
    second = ids[1] if len(ids) > 1 else None
    return second is None or (
        server.complete(**fields, stop_token_ids=[int(second[1])]).text != plain.text
    )


def response_format(server: Server) -> bool:
    [plain] = texts(server, max_tokens=12)
    [formatted] = texts(server, max_tokens=12, response_format={"type": "json_object"})
    return plain != formatted or formatted.lstrip().startswith("{")


def seed(server: Server) -> bool:
    return not all_differ(texts(server, RANDOM_TEXTS, temperature=2, seed=7))


def stream_options(server: Server) -> bool:
    with_usage, without = (
        server.stream(max_tokens=1, stream_options={"include_usage": value}).usage is not None
        for value in (True, False)
    )
    return with_usage and not without


def return_tokens_as_token_ids(server: Server) -> bool:
    answer = server.complete(logprobs=1, max_tokens=2, return_tokens_as_token_ids=True)
    return any(TOKEN_ID.fullmatch(name) for name in answer.choice.logprobs.tokens)


def data(server: Server) -> bool:
    """Compare a prompt without an image, with one, and with another one. A refusal is an effect."""
    fields = {"prompt": f"{images.PLACEHOLDER}\n{PROMPT}", "max_tokens": LENGTH}
    try:
        plain = server.complete(**fields).text
        seen = [
            server.complete(**fields, data={"image": [images.mosaic_uri(i)]}).text for i in (0, 1)
        ]
    except Unsupported:
        return True
    return seen != [plain, plain]


# Return whether a parameter has an effect. `user` and `prompt_cache_key` need not have one.
EFFECTS: Mapping[str, Callable[[Server], bool]] = {
    "max_tokens": max_tokens,
    "temperature": temperature,
    "top_p": truncation(top_p=0.001),
    "min_p": truncation(min_p=0.999),
    "top_k": truncation(top_k=1),
    "n": number_of_choices,
    "stream": stream,
    "logprobs": logprobs,
    "echo": echo,
    "stop": stop,
    "stop_token_ids": stop_token_ids,
    "presence_penalty": penalty("presence_penalty", 2, -2),
    "frequency_penalty": penalty("frequency_penalty", 2, -2),
    "repetition_penalty": penalty("repetition_penalty", 5, 0.2),
    "response_format": response_format,
    "seed": seed,
    "stream_options": stream_options,
    "return_tokens_as_token_ids": return_tokens_as_token_ids,
    "data": data,
}
