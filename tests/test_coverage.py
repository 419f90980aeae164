"""Every parameter is specified, ported, compared, checked, demonstrated and documented."""

import inspect
import itertools
import re
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.harness.registry import all_checks
from conformance.parity.harness.requests import request_specs
from conformance.parity.output_text import text_requests
from conformance.parity.properties import ENGINE_PROPERTIES, FUNCTION_PROPERTIES
from reference.bundle import Bundle
from tests.conformance.mutants import all_mutants
from tests.support.coverage import CONTRACT, COVERED, SPEC
from tests.support.parameters import PAGE, page
from tests.test_parameters import DEMONSTRATIONS

PROPERTIES = {prop.name for prop in (*FUNCTION_PROPERTIES, *ENGINE_PROPERTIES)}
CHECKS = {check.id: check for check in all_checks()}
DETECTING = set(itertools.chain.from_iterable(m.killed_by for m in all_mutants()))
TWINS = [name for name, covered in COVERED.items() if covered.twin]
# Functions of the same files that no parameter names.
TWIN_FUNCTIONS = [
    "sampler.trace",
    "sampler.sample",
    "sampler.gumbel_argmax",
    "sampler.allowed_tokens",
    "logits.mask",
    "logprobs.log_softmax",
    "prefix_cache.block_hashes",
    "threefry.threefry2x32",
    "threefry.fold_in",
    "threefry.random_bits",
    "threefry.gumbel",
]


def resolve(room: str, name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(f"{room}.{module}"), attribute)


def required(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters without a default, as those of one row: `tokens_B` of a
    batch is `token`.
    """
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.default is inspect.Parameter.empty]
    return [re.sub(r"s?(_[A-Z0-9]+)?$", "", name) for name in names]


def test_contract_is_covered() -> None:
    assert list(COVERED) == CONTRACT


@pytest.mark.parametrize("name", CONTRACT)
def test_specification_exists(name: str) -> None:
    assert resolve("reference", SPEC[name]).__doc__


@pytest.mark.parametrize("name", TWINS)
def test_twin_has_name_and_signature_of_specification(name: str) -> None:
    spec, twin = resolve("reference", SPEC[name]), resolve("jax_backend", str(COVERED[name].twin))
    assert inspect.isfunction(inspect.unwrap(twin)) and twin.__name__ == spec.__name__
    assert required(twin) == required(spec)


@pytest.mark.parametrize("name", TWIN_FUNCTIONS)
def test_files_have_the_same_functions(name: str) -> None:
    for room in "reference", "jax_backend":
        function = resolve(room, name)
        assert (
            inspect.isfunction(function)
            and function.__module__ == f"{room}.{name.partition('.')[0]}"
        )


@pytest.mark.parametrize("name", [name for name, c in COVERED.items() if c.port])
def test_port_exists(name: str) -> None:
    assert callable(resolve("jax_backend", str(COVERED[name].port)))


@pytest.mark.parametrize("name", CONTRACT)
def test_parity_property_exists(name: str) -> None:
    assert COVERED[name].parity in PROPERTIES


def test_parity_generates_every_parameter(model: Bundle) -> None:
    generated = parameters_in(request_specs(model.vocab_size)) | parameters_in(
        text_requests(SimpleNamespace(bundle=model))
    )
    assert {name for name, c in COVERED.items() if c.generated} <= generated


def parameters_in(requests: st.SearchStrategy[Any]) -> set[str]:
    """Return the names of all parameters for which a strategy generates values."""
    names: set[str] = set()

    @given(requests)
    def collect(request: Any) -> None:
        names.update(request.params)

    collect()
    return names


@pytest.mark.parametrize("name", CONTRACT)
def test_check_detects_a_mutant(name: str) -> None:
    assert any(check.parameter == name and check.id in DETECTING for check in CHECKS.values())


@pytest.mark.parametrize("name", CONTRACT)
def test_demonstration_exists(name: str) -> None:
    assert name in DEMONSTRATIONS


def test_checks_have_clauses() -> None:
    for check in CHECKS.values():
        assert check.clause.endswith(".") and len(check.clause) > 20, check.id


def test_parameters_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.support.parameters"
