"""Everything that belongs to a parameter: specification, port, parity, decisions.

`tests/test_coverage.py` checks this table, and `tests/support/parameters.py` writes
docs/parameters.md from it.
"""

from dataclasses import dataclass, fields

from reference.params import CompletionParams


@dataclass(frozen=True)
class Covered:
    """Places of one parameter.

    twin: the function of `jax_backend` with the name and the parameters of the specification's
    function. port: the function or class of `jax_backend` that honors the parameter if there is no
    such function; None if the parameter never enters an engine. parity: the property that compares
    it most directly. generated: whether the properties of whole requests must generate values for
    it.
    decisions: numbers of records in docs/decisions.
    """

    parity: str
    twin: str | None = None
    port: str | None = None
    generated: bool = True
    decisions: tuple[int, ...] = ()


def step(name: str, *decisions: int) -> Covered:
    """A sampling step, which parity also compares on its own."""
    return Covered(f"logits/{name}", twin=f"logits.{name}", decisions=(1, *decisions))


SPEC = {"model": "bundle.load_bundle", "prompt": "prompt.prompt_ids"} | {
    f.name: f.metadata["spec"] for f in fields(CompletionParams)
}
CONTRACT = list(SPEC)

COVERED: dict[str, Covered] = {
    "model": Covered("engine/requests", port="launch.launch", generated=False),
    "prompt": Covered(
        "llama/grouped", port="model.llama.Llama", generated=False, decisions=(8, 9, 11)
    ),
    "max_tokens": Covered("stopping/token_budget", twin="stopping.token_budget", decisions=(11,)),
    "temperature": step("temperature"),
    "top_p": step("top_p", 2, 13),
    "min_p": step("min_p", 2),
    "top_k": step("top_k", 2, 13),
    "n": Covered("threefry/random_bits", twin="threefry.draw_key", decisions=(5, 8)),
    "stream": Covered("output_text/complete", generated=False, decisions=(6, 7)),
    "logprobs": Covered(
        "logprobs/token_logprobs", twin="logprobs.token_logprobs", decisions=(4, 6)
    ),
    "echo": Covered(
        "engine/requests", port="serving.prefill.prompt_logprobs", decisions=(6, 9, 10)
    ),
    "stop": Covered("output_text/streamed", decisions=(7, 9)),
    "stop_token_ids": Covered("stopping/finish", twin="stopping.finish", decisions=(9,)),
    "presence_penalty": step("presence_penalty", 3),
    "frequency_penalty": step("frequency_penalty", 3),
    "repetition_penalty": step("repetition_penalty", 3),
    "response_format": Covered(
        "grammar/mask", port="grammar.token_mask.GrammarCompiler", decisions=(16,)
    ),
    "user": Covered("engine/requests", generated=False),
    "seed": Covered("threefry/random_bits", twin="threefry.seed_key", decisions=(5,)),
    "stream_options": Covered("engine/requests", generated=False),
    "return_tokens_as_token_ids": Covered("output_text/streamed", decisions=(6,)),
    "prompt_cache_key": Covered(
        "prefix_cache/block_hashes", twin="prefix_cache.root_hash", decisions=(10, 12, 22)
    ),
    "data": Covered("vision/default", port="model.vision.Vision", generated=False, decisions=(17,)),
}
