"""The example in the docstring of every function that defines a parameter."""

import doctest
from dataclasses import fields
from importlib import import_module

import pytest

from reference import sampler
from reference.params import CompletionParams

SPECS = {f.metadata["spec"] for f in fields(CompletionParams)} | {
    f"logits.{name}" for name, _ in sampler.STEPS if name != "response_format"
}


@pytest.mark.parametrize("spec", sorted(SPECS | {"logits.mask", "explain.explain"}))
def test_example_runs(spec: str) -> None:
    module, _, name = spec.rpartition(".")
    namespace = import_module(f"reference.{module}").__dict__
    docstring = namespace[name].__doc__
    example = doctest.DocTestParser().get_doctest(docstring, dict(namespace), spec, None, None)
    assert example.examples, f"{spec} has no example"
    lines: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=lines.append)
    assert result.failed == 0, "".join(lines)
