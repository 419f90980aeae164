"""Block hashes: what they depend on."""

from jax_backend.prefix_cache import block_hashes
from reference.params import CompletionParams
from reference.request import Request


def hashes(principal: str, key: str | None, prompt: list[int]) -> list[bytes]:
    return block_hashes(Request.of(prompt, CompletionParams(prompt_cache_key=key), principal), 2)


def test_hash_covers_principal_key_and_all_tokens_so_far() -> None:
    names = hashes("me", None, [1, 2, 3, 4, 5])
    assert len(names) == 2
    assert hashes("me", None, [1, 2, 3, 4]) == names
    assert hashes("me", None, [1, 2, 3, 9])[0] == names[0]
    assert hashes("me", None, [9, 2, 3, 4])[1] != names[1]
    assert hashes("me", None, [12, 3]) != hashes("me", None, [1, 23])
    isolated = hashes("you", None, [1, 2]), hashes("me", "key", [1, 2])
    assert len({names[0], *(one for chain in isolated for one in chain)}) == 3
