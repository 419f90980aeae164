"""The executable specification of a text-completions endpoint, in plain NumPy.

Read it in this order: `params` (what may be asked), `sampler` (the order of the steps), `logits`
(one function per parameter), `threefry` (where chance comes from), `logprobs`, `stopping`,
`tokenizer`, `prompt` (what is refused), `text` (what comes back), `llama` (the model), `generate`
(one request, from its ids to its tokens).

Dimension key, used in shapes and in names such as `x_TD`:

    B batch    T tokens    S cache length    V vocabulary    L layers
    D model    F ffn       N heads           K kv heads      H head dim
"""
