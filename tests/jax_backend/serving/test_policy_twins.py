"""Wrong twins of the stopping and prefix-cache policies fail their parity properties."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from conformance.parity import prefix_cache as prefix_cache_parity
from conformance.parity import stopping as stopping_parity
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.runner import Trial
from jax_backend import prefix_cache, stopping

PROPERTIES = {p.name: p for p in (*stopping_parity.PROPERTIES, *prefix_cache_parity.PROPERTIES)}
token_budget, finish = stopping.token_budget, stopping.finish
root_hash, block_hashes = prefix_cache.root_hash, prefix_cache.block_hashes


def stop_id_before_eos(**fields: Any) -> Any:
    eos = set(fields["eos_token_ids"]) - set(fields["stop_token_ids"])
    return finish(**fields | {"eos_token_ids": eos})


def length_before_stop(**fields: Any) -> Any:
    ended = fields["generated"] >= fields["budget"]
    return ("length", None) if ended else finish(**fields)


def one_token_less(**fields: Any) -> Any:
    return finish(**fields | {"generated": fields["generated"] + 1})


def without_stop_ids(**fields: Any) -> Any:
    return finish(**fields | {"stop_token_ids": ()})


def one_more_position(max_tokens: int | None, context: int, prompt_length: int) -> int:
    return token_budget(max_tokens, context + 1, prompt_length)


def another_default(max_tokens: int | None, context: int, prompt_length: int) -> int:
    return token_budget(max_tokens or 16, context, prompt_length)


def beyond_the_context(max_tokens: int | None, context: int, prompt_length: int) -> int:
    return max_tokens or context - prompt_length


def without_the_last(request: Any, page_size: int) -> Any:
    return block_hashes(request, page_size)[:-1]


def hashes_without_images(request: Any, page_size: int) -> Any:
    return block_hashes(replace(request, images=()), page_size)


def hashes_of_separate_blocks(request: Any, page_size: int) -> Any:
    starts = range(0, len(request.prompt) - page_size + 1, page_size)
    blocks = [replace(request, prompt=request.prompt[i : i + page_size]) for i in starts]
    return [block_hashes(block, page_size)[0] for block in blocks]


WRONG: list[tuple[str, ModuleType, str, Any]] = [
    ("stopping/token_budget", stopping, "token_budget", one_more_position),
    ("stopping/token_budget", stopping, "token_budget", another_default),
    ("stopping/token_budget", stopping, "token_budget", beyond_the_context),
    ("stopping/finish", stopping, "finish", one_token_less),
    ("stopping/finish", stopping, "finish", without_stop_ids),
    ("stopping/finish", stopping, "finish", stop_id_before_eos),
    ("stopping/finish", stopping, "finish", length_before_stop),
    ("prefix_cache/root_hash", prefix_cache, "root_hash", lambda p, k: root_hash("", k)),
    ("prefix_cache/root_hash", prefix_cache, "root_hash", lambda p, k: root_hash(p, k or "")),
    ("prefix_cache/root_hash", prefix_cache, "root_hash", lambda p, k: root_hash(p, str(k))),
    ("prefix_cache/block_hashes", prefix_cache, "root_hash", lambda p, k: b""),
    ("prefix_cache/block_hashes", prefix_cache, "block_hashes", without_the_last),
    ("prefix_cache/block_hashes", prefix_cache, "block_hashes", hashes_without_images),
    ("prefix_cache/block_hashes", prefix_cache, "block_hashes", hashes_of_separate_blocks),
]


def check(tested: Property) -> None:
    """Check a property on random examples; a failure is not simplified."""
    search = settings(
        max_examples=200,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    search(Trial(tested, Coverage(), lambda: None).test)()


@pytest.mark.parametrize("tested", PROPERTIES.values(), ids=lambda tested: tested.name)
def test_twin_has_the_property(tested: Property) -> None:
    check(tested)


@pytest.mark.parametrize(("name", "module", "function", "wrong"), WRONG)
def test_wrong_twin_fails(
    name: str, module: ModuleType, function: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, function, wrong)
    with pytest.raises(AssertionError):
        check(PROPERTIES[name])
