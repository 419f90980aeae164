"""The files in `vectors/`: what the generator writes, valid, unique, small."""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from conformance.vectors import folder as folder_module
from conformance.vectors.folder import family_files, folder, read_lines, withdrawn_ids
from conformance.vectors.generation import FAMILIES, changed_ids, generate
from conformance.vectors.lines import Case, floats, line
from conformance.vectors.margins import MIN_MARGIN, stated
from reference.sampler import STEPS
from tests.conformance.vectors.conftest import Families

MAX_BYTES = 5_000_000
NAMES = [family.name for family in FAMILIES]


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vectors")
    generate(directory)
    return directory


def test_generator_writes_the_files_byte_for_byte(generated: Path) -> None:
    new, old = contents(generated), contents(folder())
    assert sorted(new) == sorted(old)
    differing = [name for name in new if new[name] != old[name]]
    assert not differing, "run: python -m conformance.vectors.generation"


def test_size() -> None:
    assert sum(map(len, contents(folder()).values())) <= MAX_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_cases_are_valid_under_their_schema(name: str) -> None:
    header, *cases = read_lines(folder() / f"{name}.jsonl")
    schema = json.loads((folder() / header["schema"]).read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for case in cases:
        validator.validate(case)
    assert header["cases"] == len(cases) > 0
    used = {flag for case in cases for flag in case["flags"]}
    assert used == set(header["flags"])
    assert set(header["compare"]) and header["license"] == "CC0-1.0"
    for file in header.get("files", []):
        assert (folder() / file).is_file()


def test_schema_refuses_a_misspelled_field(families: Families) -> None:
    header, cases = families["top_k"]
    schema = json.loads((folder() / header["schema"]).read_text("utf-8"))
    value = cases[0].as_json()
    value["input"]["topk"] = value["input"].pop("top_k")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


def test_ids_are_unique(families: Families) -> None:
    ids = Counter(case.id for _, cases in families.values() for case in cases)
    assert max(ids.values()) == 1
    assert not withdrawn_ids(folder()) & set(ids)
    assert all(case.family == name for name, (_, cases) in families.items() for case in cases)


def test_steps_have_families() -> None:
    assert {name for name, _ in STEPS} - {"response_format"} | {"mask"} <= set(NAMES)


def test_margins(families: Families) -> None:
    for _, cases in families.values():
        assert all(case.margin is None or case.margin >= MIN_MARGIN for case in cases)


def test_steps_have_ties_boundaries_and_dialects(families: Families) -> None:
    for name in "min_p", "top_k", "top_p", "chain":
        _, cases = families[name]
        assert {"tie", "boundary"} <= {flag for case in cases for flag in case.flags}, name
        assert any(case.dialects for case in cases), name


def test_ascii(families: Families) -> None:
    assert all(path.read_bytes().isascii() for path in family_files(folder()))


def test_changed_case_needs_a_new_id(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for directory in old, new:
        directory.mkdir()
        (directory / folder_module.WITHDRAWN).write_text('{"withdrawn": 0}\n')
    case = {"id": "top_k/a", "flags": [], "input": {"k": 1}, "expect": {"kept": [0]}}
    other = case | {"id": "top_k/b"}
    header = line({"family": "top_k"})
    (old / "top_k.jsonl").write_text(header + line(case))
    (new / "top_k.jsonl").write_text(header + line(case) + line(other))
    assert changed_ids(old, new) == []
    (new / "top_k.jsonl").write_text(header + line(case | {"expect": {"kept": [1]}}))
    assert changed_ids(old, new) == ["top_k/a"]
    (new / "top_k.jsonl").write_text(header + line(other))
    assert changed_ids(old, new) == ["top_k/a"]
    (new / folder_module.WITHDRAWN).write_text('{"withdrawn": 1}\n{"id": "top_k/a"}\n')
    assert changed_ids(old, new) == []
    (new / "top_k.jsonl").write_text(header + line(case))
    assert changed_ids(old, new) == ["top_k/a"]


def test_numbers_are_exact_or_refused() -> None:
    assert floats([0.5, -float("inf")]) == [0.5, None]
    for value in float("nan"), float("inf"):
        with pytest.raises(ValueError, match="numbers"):
            floats([value])
    with pytest.raises(ValueError, match="margin"):
        stated(MIN_MARGIN / 2)


def test_case_has_the_same_json(families: Families) -> None:
    for _, cases in families.values():
        assert Case.from_json(json.loads(line(cases[-1].as_json()))) == cases[-1]
