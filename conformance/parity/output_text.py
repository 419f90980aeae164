"""The text and log-probabilities that a client receives, compared with the reference's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from conformance.parity.harness.agreement import replay_sampler, same_top_logprobs
from conformance.parity.harness.backends import Backend
from conformance.parity.harness.property import Coverage, EngineProperty
from conformance.parity.harness.requests import RequestOutput, RequestSpec, collect, request_specs
from conformance.parity.harness.tolerance import LOGIT_TOLERANCE
from reference.bundle import Bundle
from reference.completion import Completion, complete, stream
from reference.grammar.response_format import compile_format
from reference.output_text import LogprobsEntry, TextDelta, echo, prompt_text, start_choice
from reference.params import CompletionParams
from reference.prompt import prompt_ids
from reference.request import Request
from reference.stopping import resolve_stop_strings

Deltas = list[list[TextDelta]]  # of each choice


@dataclass(frozen=True)
class TextRequest:
    """A request as a client writes it. prompt: text or token ids."""

    prompt: str | list[int]
    params: dict[str, Any]


def streamed(backend: Backend, text_request: TextRequest, coverage: Coverage) -> None:
    """Every streamed delta is the reference's: text, log-probabilities, finish reason."""
    bundle, prompt = backend.bundle, text_request.prompt
    params, request, output = run(backend, text_request)
    actual = deltas(bundle, prompt, params, request.prompt, output)
    expected: Deltas = [[] for _ in actual]
    sample = replay_sampler(request, output, coverage)
    for choice, delta in stream(bundle, prompt, params, sample=sample):
        expected[choice].append(delta)
    for actual_deltas, expected_deltas in zip(actual, expected, strict=True):
        assert len(actual_deltas) == len(expected_deltas), (
            f"{actual_deltas} instead of {expected_deltas}"
        )
        for a, b in zip(actual_deltas, expected_deltas, strict=True):
            check_delta(a, b, params)
    coverage.counts["tokens"] += sum(map(len, actual))
    stopped = sum(isinstance(choice[-1].stop_reason, str) for choice in actual)
    coverage.counts["stop strings matched"] += stopped


def complete_output(backend: Backend, text_request: TextRequest, coverage: Coverage) -> None:
    """The streamed deltas, joined, are the reference's completion."""
    bundle, prompt = backend.bundle, text_request.prompt
    params, request, output = run(backend, text_request)
    parts = deltas(bundle, prompt, params, request.prompt, output)
    actual = [joined(choice) for choice in parts]
    coverage.counts["completions"] += len(actual)
    expected = complete(bundle, prompt, params)
    for a, b in zip(actual, expected, strict=True):
        if without_numbers(a) != without_numbers(b):
            break
        check_entries(a.entries, b.entries, params)
    else:
        return
    # Different text is correct only if a borderline decision is flipped.
    before = coverage.flipped
    streamed(backend, text_request, coverage)
    assert coverage.flipped > before, f"{actual} instead of {expected}"


def run(
    backend: Backend, text_request: TextRequest
) -> tuple[CompletionParams, Request, RequestOutput]:
    """Run a request on the backend's engine."""
    bundle, params = backend.bundle, CompletionParams(**text_request.params)
    ids = prompt_ids(bundle.tokenizer, text_request.prompt, bundle.vocab_size, bundle.context)
    engine_params = resolve_stop_strings(params, bundle.vocabulary)
    request = Request.of(ids, engine_params, language=compile_format(params.response_format))
    [output] = collect(backend.large_cache, [request])
    assert output.error is None, output.error
    return params, request, output


def deltas(
    bundle: Bundle,
    prompt: str | Sequence[int],
    params: CompletionParams,
    ids: Sequence[int],
    output: RequestOutput,
) -> Deltas:
    """Return the text deltas of each choice up to its end. The engine does not know about stop
    strings, so the tokens after one are ignored.
    """
    tokenizer = bundle.tokenizer
    text = prompt_text(tokenizer, prompt)
    prompt_logprobs = output.prompt.prompt_logprobs if output.prompt else None
    result: Deltas = []
    for tokens in output.choices:
        choice = start_choice(tokenizer, params, ids, text)
        result.append([echo(tokenizer, params, ids, text, prompt_logprobs)] if params.echo else [])
        for token in tokens:
            if not choice.finished:
                result[-1].append(choice.push(token))
    return result


def joined(parts: Sequence[TextDelta]) -> Completion:
    """Join the deltas of a choice into a completion."""
    return Completion(
        "".join(part.text for part in parts),
        tuple(entry for part in parts for entry in part.entries),
        str(parts[-1].finish_reason),
        parts[-1].stop_reason,
    )


def without_numbers(completion: Completion) -> Completion:
    """Return the completion without log-probabilities."""
    entries = tuple(LogprobsEntry(e.token, None, None, e.offset) for e in completion.entries)
    return replace(completion, entries=entries)


def check_delta(actual: TextDelta, expected: TextDelta, params: CompletionParams) -> None:
    """Assert that two deltas are the same, log-probabilities within the tolerance."""
    same = replace(actual, entries=()) == replace(expected, entries=())
    assert same, f"{actual} instead of {expected}"
    check_entries(actual.entries, expected.entries, params)


def check_entries(
    actual: Sequence[LogprobsEntry], expected: Sequence[LogprobsEntry], params: CompletionParams
) -> None:
    """Assert that logprobs entries are the same, numbers within the tolerance."""
    assert len(actual) == len(expected), f"{actual} instead of {expected}"
    for a, b in zip(actual, expected, strict=True):
        message = f"{a} instead of {b}"
        assert (a.token, a.offset) == (b.token, b.offset), message
        if a.logprob is None or b.logprob is None:
            assert a == b, message
            continue
        assert abs(a.logprob - b.logprob) <= LOGIT_TOLERANCE, message
        assert same_top_logprobs(a.top or {}, b.top or {}, params.logprobs or 0), message


PREFIXES = ["Once upon a time", "The dog", "1. drum\n2.", "“Zoë” 👩‍👩‍👧", " ", "</s>", "a"]
STOPS = [" ", "e", "\n", ". ", "the", " a", "ed ", "He ", "“", "zzz", "</s>", "<s>", "<unk>"]


def text_requests(backend: Backend) -> st.SearchStrategy[TextRequest]:
    """Generate requests as `request_specs` does, mostly with text prompts, and with the parameters
    of output text.
    """
    specs = request_specs(backend.bundle.vocab_size, 40, 16)
    letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    texts = st.builds(str.__add__, st.sampled_from(PREFIXES), letters)
    text_params = st.fixed_dictionaries(
        {},
        optional={
            "stop": st.lists(st.sampled_from(STOPS) | letters.filter(bool), max_size=4).map(tuple),
            "return_tokens_as_token_ids": st.booleans(),
            "echo": st.booleans(),
        },
    )

    def build(text: str | None, spec: RequestSpec, params: dict[str, Any]) -> TextRequest:
        return TextRequest(spec.prompt if text is None else text, spec.params | params)

    return st.builds(build, texts | st.none(), specs, text_params)


PROPERTIES = (
    EngineProperty("output_text/streamed", text_requests, streamed, needs_tokenizer=True),
    EngineProperty("output_text/complete", text_requests, complete_output, needs_tokenizer=True),
)
