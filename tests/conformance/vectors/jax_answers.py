"""The JAX backend as the program under test, for the families that it computes itself.

Text is made from tokens by the reference, for every backend.
"""

from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.twins import PagedSequence
from conformance.vectors.folder import folder
from conformance.vectors.lines import array, floats
from conformance.vectors.pieces import read_vocabulary
from conformance.vectors.reference import (
    PARAMETERS,
    Answer,
    Input,
    distribution,
    history_of,
    wide_logits,
)
from jax_backend import logits as steps
from jax_backend import logprobs, sampler, stopping, threefry
from jax_backend.grammar.token_mask import GrammarCompiler
from jax_backend.model import checkpoint
from jax_backend.model.llama import Llama
from reference.grammar.response_format import compile_format
from reference.params import CompletionParams
from reference.request import Request

CONTEXT = 64


def per_row(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def step(name: str) -> Any:
    def answer(case: Input) -> Answer:
        x = array(case["logits"])
        history = history_of(case, len(x))
        value = per_row(case.get(name, 0.0))
        counts = history.counts.astype(np.int32)[None]
        match name:
            case "mask":
                y = compiled(steps.mask)(x[None], history.allowed[None])
            case "repetition_penalty":
                y = compiled(steps.repetition_penalty)(x[None], history.present[None], value)
            case "frequency_penalty":
                y = compiled(steps.frequency_penalty)(x[None], counts, value)
            case "presence_penalty":
                y = compiled(steps.presence_penalty)(x[None], counts, value)
            case "temperature":
                y = compiled(steps.temperature)(x[None], rows(history.params).temperature)
            case "top_k":
                y = compiled(steps.top_k)(shifted(x), rows(history.params).top_k)
            case _:
                y = compiled(getattr(steps, name))(shifted(x), value)
        y = np.asarray(y)[0]
        kept = name in ("min_p", "top_k", "top_p")
        return distribution(y) if kept else {"logits": floats(y)}

    return answer


def shifted(x: np.ndarray) -> Any:
    return compiled(steps.temperature)(x[None], per_row(1.0))


def rows(params: CompletionParams, seed: int = 0, choice: int = 0) -> sampler.Params:
    one = sampler.Params.of(params, seed, choice)
    return sampler.Params(*(np.asarray(value)[None] for value in one))


def history_rows(case: Input, size: int) -> sampler.SamplingHistory:
    history = history_of(case, size)
    return sampler.SamplingHistory(
        history.allowed[None], history.present[None], history.counts.astype(np.int32)[None]
    )


@cache
def compiled_trace() -> Any:
    return jax.jit(lambda x, p, h: [y for _, y in sampler.trace(x, p, h)])


def traced(x: np.ndarray, case: Input) -> dict[str, np.ndarray]:
    params = CompletionParams(**{name: case[name] for name in PARAMETERS if name in case})
    values = compiled_trace()(x[None], rows(params), history_rows(case, len(x)))
    names = [name for name, *_ in sampler.STEPS]
    return {name: np.asarray(y)[0] for name, y in zip(names, values, strict=True)}


def chain(case: Input) -> Answer:
    after = traced(array(case["logits"]), case)
    counts = {name: int(np.isfinite(y).sum()) for name, y in after.items()}
    return distribution(list(after.values())[-1]) | {"counts": counts}


def probabilities(case: Input) -> Answer:
    return {"probabilities": chain(case)["probabilities"]}


def wide(case: Input) -> Answer:
    last = list(traced(wide_logits(case["tensor"]), case).values())[-1]
    return {"kept": np.flatnonzero(np.isfinite(last)).tolist()}


def random_numbers(case: Input) -> Answer:
    if "counter" in case:
        key, counter = (tuple(map(np.uint32, case[name])) for name in ("key", "counter"))
        return {"words": [int(w) for w in compiled(threefry.threefry2x32)(key, *counter)]}
    seed = threefry.seed_key(int(case["seed"]))
    if "choice" not in case:
        return {"words": seed.tolist()}
    numbers = (np.array([case[name]], np.int32) for name in ("choice", "position"))
    if "vocab_size" not in case:
        return {"words": [int(w[0]) for w in compiled(threefry.draw_key)(seed[None], *numbers)]}
    bits = compiled(threefry.random_bits, 3)(seed[None], *numbers, case["vocab_size"])
    return {"words": np.asarray(bits)[0].tolist()}


def gumbel(case: Input) -> Answer:
    bits = np.resize(np.array(case["bits"], np.uint32), 16)
    noise = np.asarray(compiled(threefry.gumbel)(bits))[: len(case["bits"])]
    return {"noise": noise.tolist()}


def draw(case: Input) -> Answer:
    x = array(case["logits"])
    params = history_of(case, len(x)).params
    token = compiled(sampler.sample)(
        x[None],
        rows(params, int(case["seed"]), case["choice"]),
        history_rows(case, len(x)),
        np.array([case["position"]], np.int32),
    )
    return {"token": int(token[0])}


def token_logprobs(case: Input) -> Answer:
    x, token = array(case["logits"]), case["token"]
    top = min(case["top"], len(x))
    value, highest, ids = logprobs.token_logprobs(
        jnp.asarray(x[None]), jnp.array([token], jnp.int32), max(top, 1)
    )
    top_ids = np.asarray(ids)[0, :top].tolist()
    values = np.asarray(highest)[0, :top].tolist()
    # The host adds the sampled token, as `serving.outputs` does.
    if token not in top_ids:
        top_ids, values = [*top_ids, token], [*values, float(value[0])]
    return {"logprob": float(value[0]), "top_ids": top_ids, "top_logprobs": values}


def finish(case: Input) -> Answer:
    reason, stop = stopping.finish(**case)
    return {"finish_reason": reason, "stop_reason": stop}


def budget(case: Input) -> Answer:
    try:
        return {"budget": stopping.token_budget(**case)}
    except ValueError:
        return {"budget": None}


@cache
def compiler() -> GrammarCompiler:
    vocabulary = read_vocabulary(folder())
    return GrammarCompiler(vocabulary, vocabulary.disallowed_token_ids)


def grammar_mask(case: Input) -> Answer:
    vocabulary = read_vocabulary(folder())
    params = CompletionParams(response_format=case["response_format"])
    language = compile_format(case["response_format"])
    state = compiler().start(Request(prompt=(2,), params=params, seed=0, language=language))
    for token in case["output"]:
        state.push(token)
    [words], [error] = compiler().token_masks([state])
    assert error is None, error
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")[: len(vocabulary.pieces)]
    return {"allowed": np.flatnonzero(bits).tolist()}


@cache
def model(directory: Path) -> Llama:
    return checkpoint.load(directory)


def forward(case: Input) -> Answer:
    sequence = PagedSequence(model(folder() / case["checkpoint"]))
    return {"logits": sequence.prefill(case["ids"], CONTEXT)[-8:].tolist()}


STEPS = ("mask", *PARAMETERS)
ANSWERS = {
    **{name: step(name) for name in STEPS},
    "chain": chain,
    "distribution": probabilities,
    "wide": wide,
    "threefry": random_numbers,
    "gumbel": gumbel,
    "draw": draw,
    "logprobs": token_logprobs,
    "finish": finish,
    "budget": budget,
    "grammar_mask": grammar_mask,
    "forward": forward,
}
