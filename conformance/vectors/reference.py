"""The reference as the program under test: the answer to the input of a case of each family."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from conformance.vectors.folder import folder
from conformance.vectors.lines import array, floats, rounded
from conformance.vectors.pieces import BytesTokenizer, read_vocabulary
from reference import logits as steps
from reference import logprobs, sampler, stopping, threefry
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.response_format import compile_format
from reference.grammar.token_mask import GrammarMatcher
from reference.logits import Logits
from reference.model import checkpoint, llama
from reference.output_text import StreamedChoice, TokenDisplay
from reference.params import CompletionParams
from reference.request import TokenGenerated, TokenLogprobs
from reference.sampler import SamplingHistory
from reference.tokenizer.detokenizer import Detokenizer
from reference.tokenizer.loader import load_tokenizer

Input = Mapping[str, Any]
Answer = dict[str, Any]

ROWS = 8  # of the logits of a model
PARAMETERS = (
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "temperature",
    "min_p",
    "top_k",
    "top_p",
)


def history_of(case: Input, vocab_size: int) -> SamplingHistory:
    """Return the sampling history of a case: parameters, allowed tokens, prompt and output."""
    allowed = np.ones(vocab_size, np.bool_)
    if "allowed" in case:
        allowed[:] = False
        allowed[case["allowed"]] = True
    prompt, output = list(case.get("prompt", ())), list(case.get("output", ()))
    counts = occurrences(output, vocab_size)
    present = counts > 0
    present[prompt] = True
    params = CompletionParams(**{name: case[name] for name in PARAMETERS if name in case})
    return SamplingHistory(params=params, allowed=allowed, present=present, counts=counts)


def occurrences(tokens: Sequence[int], vocab_size: int) -> np.ndarray:
    """Return the number of occurrences of each id."""
    return np.bincount(np.array(tokens, np.int64), minlength=vocab_size).astype(np.int64)


def distribution(x: Logits) -> Answer:
    """Return the tokens that are left and the probabilities of all."""
    return {
        "kept": np.flatnonzero(np.isfinite(x)).tolist(),
        "probabilities": rounded(steps.probabilities(x)),
    }


def changed_logits(name: str) -> Callable[[Input], Answer]:
    """Answer with the logits after one step."""

    def answer(case: Input) -> Answer:
        x = array(case["logits"])
        return {"logits": floats(dict(sampler.STEPS)[name](x, history_of(case, len(x))))}

    return answer


def truncated(name: str) -> Callable[[Input], Answer]:
    """Answer with the distribution after one step. The steps expect a maximum of 0."""

    def answer(case: Input) -> Answer:
        x = steps.temperature(array(case["logits"]), 1.0)
        return distribution(dict(sampler.STEPS)[name](x, history_of(case, len(x))))

    return answer


def chain(case: Input) -> Answer:
    x = array(case["logits"])
    traced = list(sampler.trace(x, history_of(case, len(x))))
    counts = {name: int(np.isfinite(after).sum()) for name, after in traced}
    return distribution(traced[-1][1]) | {"counts": counts}


def distribution_after_chain(case: Input) -> Answer:
    x = array(case["logits"])
    last = sampler.final_logits(x, history_of(case, len(x)))
    return {"probabilities": distribution(last)["probabilities"]}


def wide(case: Input) -> Answer:
    x = wide_logits(case["tensor"])
    last = sampler.final_logits(x, history_of(case, len(x)))
    return {"kept": np.flatnonzero(np.isfinite(last)).tolist()}


@cache
def wide_tensors() -> dict[str, np.ndarray]:
    return load_file(folder() / "wide.safetensors")


def wide_logits(name: str) -> Logits:
    return wide_tensors()[name].astype(np.float32)


def random_numbers(case: Input) -> Answer:
    if "counter" in case:
        counter = np.array(case["counter"], np.uint32)[:, None]
        words = threefry.threefry2x32(np.array(case["key"], np.uint32), counter)
        return {"words": words[:, 0].tolist()}
    seed = int(case["seed"])
    if "choice" not in case:
        return {"words": threefry.seed_key(seed).tolist()}
    key = threefry.draw_key(seed, case["choice"], case["position"])
    if "vocab_size" not in case:
        return {"words": key.tolist()}
    return {"words": threefry.random_bits(key, case["vocab_size"]).tolist()}


def gumbel(case: Input) -> Answer:
    return {"noise": floats(threefry.gumbel(np.array(case["bits"], np.uint32)))}


def draw(case: Input) -> Answer:
    x = array(case["logits"])
    noise = threefry.noise(int(case["seed"]), case["choice"], case["position"], len(x))
    return {"token": sampler.sample(x, history_of(case, len(x)), noise)}


def token_logprobs(case: Input) -> Answer:
    result = logprobs.token_logprobs(array(case["logits"]), case["token"], case["top"])
    ids, values = [i for i, _ in result.top], [value for _, value in result.top]
    return {"logprob": result.logprob, "top_ids": ids, "top_logprobs": values}


def token_names(case: Input) -> Answer:
    display = TokenDisplay(BytesTokenizer(case["pieces"]), as_ids=case["as_ids"])
    # Distinct values identify the names, which `top` returns in this order.
    ranked = tuple((token, -float(rank)) for rank, token in enumerate(case["ranked"]))
    names = list(display.top(TokenLogprobs(case["token"], 0.0, ranked)))
    return {"name": display.name(case["token"]), "top_names": names}


def stop_strings(case: Input) -> Answer:
    search, deltas = stopping.StopStrings(case["stop"]), []
    for part in case["parts"]:
        text, stop = search.push(part)
        deltas.append(text)
        if stop is not None:
            return {"deltas": deltas, "text": "".join(deltas), "stop_reason": stop}
    deltas[-1] += search.flush()
    return {"deltas": deltas, "text": "".join(deltas), "stop_reason": None}


def finish(case: Input) -> Answer:
    reason, stop = stopping.finish(
        case["token"],
        case["generated"],
        case["budget"],
        case["eos_token_ids"],
        case["stop_token_ids"],
    )
    return {"finish_reason": reason, "stop_reason": stop}


def budget(case: Input) -> Answer:
    try:
        return {
            "budget": stopping.token_budget(
                case["max_tokens"], case["context"], case["prompt_length"]
            )
        }
    except stopping.ContextLengthExceeded:
        return {"budget": None}


def detokenization(case: Input) -> Answer:
    tokenizer = BytesTokenizer(case["pieces"], leading_space=case["strip_space"])
    detokenizer = Detokenizer(tokenizer)
    deltas = [detokenizer.push(token) for token in range(tokenizer.vocab_size)]
    deltas[-1] += detokenizer.flush()
    return {"deltas": deltas, "text": "".join(deltas)}


def text_offsets(case: Input) -> Answer:
    tokenizer = BytesTokenizer(case["pieces"], leading_space=case["strip_space"])
    params = CompletionParams(stop=tuple(case["stop"]), logprobs=0)
    choice = StreamedChoice(tokenizer, params, (), case["start"])
    texts, offsets, entries = [], [], []
    for token in range(tokenizer.vocab_size):
        reason = "length" if token == tokenizer.vocab_size - 1 else None
        logprobs = TokenLogprobs(token, 0.0, ())
        event = TokenGenerated(choice=0, token=token, logprobs=logprobs, finish_reason=reason)
        delta = choice.push(event)
        texts.append(delta.text)
        offsets += [entry.offset for entry in delta.entries]
        entries.append(len(delta.entries))
        if delta.finish_reason is not None:
            break
    return {"text": "".join(texts), "offsets": offsets, "entries": entries}


def tokenization(case: Input) -> Answer:
    return {"ids": load_tokenizer(folder() / "tokenization").encode(case["text"])}


def grammar_texts(case: Input) -> Answer:
    language = compile_format(case["response_format"])
    assert language is not None
    derivatives = Derivatives(language)
    return {"accepted": [derivatives.accepts(text.encode()) for text in case["texts"]]}


def grammar_masks(case: Input) -> Answer:
    language, vocabulary = compile_format(case["response_format"]), read_vocabulary(folder())
    assert language is not None
    matcher = GrammarMatcher(
        language, vocabulary, vocabulary.disallowed_token_ids, strip_space=False
    )
    for token in case["output"]:
        matcher.push(token)
    return {"allowed": np.flatnonzero(matcher.allowed()).tolist()}


def forward(case: Input) -> Answer:
    logits = model_logits(folder() / case["checkpoint"], case["ids"], np.float32)
    return {"logits": logits[-ROWS:].tolist()}


def model_logits(directory: Path, ids: list[int], dtype: Any) -> np.ndarray:
    """Return the logits after each token."""
    loaded = checkpoint.load(directory, dtype)
    hidden = llama.hidden_states(loaded.weights, loaded.config, np.array(ids))
    return llama.logits(loaded.weights, hidden)


ANSWERS: Mapping[str, Callable[[Input], Answer]] = {
    "mask": changed_logits("response_format"),
    **{parameter: changed_logits(parameter) for parameter in PARAMETERS[:4]},
    **{parameter: truncated(parameter) for parameter in PARAMETERS[4:]},
    "chain": chain,
    "wide": wide,
    "distribution": distribution_after_chain,
    "threefry": random_numbers,
    "gumbel": gumbel,
    "draw": draw,
    "logprobs": token_logprobs,
    "token_name": token_names,
    "stop": stop_strings,
    "finish": finish,
    "budget": budget,
    "detokenization": detokenization,
    "text_offset": text_offsets,
    "tokenization": tokenization,
    "grammar_text": grammar_texts,
    "grammar_mask": grammar_masks,
    "forward": forward,
}
