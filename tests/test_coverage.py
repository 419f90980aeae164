"""Nothing is claimed that is not specified, ported, compared, checked and served.

Every field of the contract has a function of the reference, a twin in the JAX backend (or none,
where no engine has to do with it), a property of parity, a black-box check that a broken server is
caught by, and a demonstration over HTTP on every backend.
"""

import itertools
from dataclasses import dataclass, fields
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.harness.registry import all_checks
from conformance.parity.harness.properties import OF_FUNCTIONS, OF_MODELS
from conformance.parity.harness.requests import asked
from conformance.parity.output_text import any_text
from reference.bundle import Bundle
from reference.params import CompletionParams
from tests.conformance.mutants import all_mutants
from tests.test_parameters import CONTRACT, DEMONSTRATIONS


@dataclass(frozen=True)
class Covered:
    """twin: what honours it in jax_backend. parity: the property that compares it. drawn: whether
    that property makes requests, and so must draw values for it.
    """

    twin: str | None
    parity: str
    drawn: bool = True


OF_TEXT = Covered(
    None, "text/streamed"
)  # made from tokens by `reference.output_text`, for every backend
OF_SERVICE = Covered(None, "engine/requests", drawn=False)  # nothing of it enters an engine


def step(name: str) -> Covered:
    """A step of the sampler is compared by itself, too."""
    return Covered(f"logits.{name}", f"logits/{name}")


COVERED: dict[str, Covered] = {
    "model": Covered("launch.start", "engine/requests", drawn=False),
    "prompt": Covered("model.llama.Llama", "model/grouped", drawn=False),
    "max_tokens": Covered("serving.scheduler.Scheduler", "engine/requests"),
    "temperature": step("temperature"),
    "top_p": step("top_p"),
    "min_p": step("min_p"),
    "top_k": step("top_k"),
    "n": Covered("serving.scheduler.Scheduler", "engine/requests"),
    "stream": Covered(None, "text/whole", drawn=False),
    "logprobs": Covered("logprobs.token_logprobs", "logprobs/report"),
    "echo": Covered("serving.step.read", "engine/requests"),
    "stop": OF_TEXT,
    "stop_token_ids": Covered("serving.scheduler.Scheduler", "engine/requests"),
    "presence_penalty": step("presence_penalty"),
    "frequency_penalty": step("frequency_penalty"),
    "repetition_penalty": step("repetition_penalty"),
    "response_format": Covered("grammar.token_mask.Grammars", "grammar/mask"),
    "user": OF_SERVICE,
    "seed": Covered("threefry.seed_key", "randomness/bits"),
    "stream_options": OF_SERVICE,
    "return_tokens_as_token_ids": OF_TEXT,
    "prompt_cache_key": Covered("serving.page_pool.PagePool", "engine/requests"),
    "data": Covered("model.vision.Vision", "vision/default", drawn=False),
}
PROPERTIES = {one.name for one in (*OF_FUNCTIONS, *OF_MODELS)}
SPEC = {f.name: f.metadata["spec"] for f in fields(CompletionParams)} | {
    "model": "bundle.load_bundle",
    "prompt": "prompt.prompt_ids",
}
CHECKS = {check.id: check for check in all_checks()}
NOTICING = set(itertools.chain.from_iterable(m.killed_by for m in all_mutants()))


def found(room: str, name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(f"{room}.{module}"), attribute)


def test_the_contract_is_covered_whole() -> None:
    assert list(COVERED) == CONTRACT


@pytest.mark.parametrize("name", CONTRACT)
def test_it_is_specified(name: str) -> None:
    assert found("reference", SPEC[name]).__doc__


@pytest.mark.parametrize("name", [name for name, c in COVERED.items() if c.twin])
def test_it_is_ported(name: str) -> None:
    assert callable(found("jax_backend", str(COVERED[name].twin)))


@pytest.mark.parametrize("name", CONTRACT)
def test_it_is_compared(name: str) -> None:
    assert COVERED[name].parity in PROPERTIES


def test_what_is_compared_is_drawn(model: Bundle) -> None:
    drawn = parameters_in(asked(model.vocab_size)) | parameters_in(
        any_text(SimpleNamespace(model=model))
    )
    assert {name for name, c in COVERED.items() if c.drawn} <= drawn


def parameters_in(requests: st.SearchStrategy[Any]) -> set[str]:
    """The names of all parameters that a strategy draws values for, sooner or later."""
    found: set[str] = set()

    @given(requests)
    def collect(one: Any) -> None:
        found.update(one.params)

    collect()
    return found


@pytest.mark.parametrize("name", CONTRACT)
def test_it_is_checked(name: str) -> None:
    """And the check catches somebody."""
    assert any(check.parameter == name and check.id in NOTICING for check in CHECKS.values())


@pytest.mark.parametrize("name", CONTRACT)
def test_it_is_served(name: str) -> None:
    assert name in DEMONSTRATIONS


def test_every_check_says_what_must_hold() -> None:
    for check in CHECKS.values():
        assert check.clause.endswith(".") and len(check.clause) > 20, check.id
