"""python -m conformance.vectors.generation: writes `vectors/` again.

A published case never changes: a changed one gets a new id, and the old id goes to
`withdrawn.jsonl` with the reason. `--unpublished` allows changes before a release.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors.numpy import save_file

from conformance.vectors.cases import (
    chain,
    forward,
    grammar,
    logprobs,
    offsets,
    random_numbers,
    requests,
    steps,
    text,
    truncation,
    wide,
)
from conformance.vectors.families import Family
from conformance.vectors.folder import (
    VARIABLE,
    WITHDRAWN,
    family_files,
    folder,
    read_family,
    withdrawn_ids,
)
from conformance.vectors.lines import LICENSE, VERSION, Case, line
from conformance.vectors.pieces import VOCABULARY_FILE
from reference.bundle import EMBEDDED

TOPICS = (
    steps,
    truncation,
    chain,
    wide,
    random_numbers,
    logprobs,
    text,
    offsets,
    grammar,
    forward,
    requests,
)
FAMILIES: tuple[Family, ...] = tuple(family for topic in TOPICS for family in topic.FAMILIES)
TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
# id, reason, version
WITHDRAWN_CASES: tuple[tuple[str, str, str], ...] = ()


def generate(directory: Path) -> None:
    """Write all files to a directory, which exists."""
    with as_folder(directory):
        write_data(directory)
        (directory / "schemas").mkdir(exist_ok=True)
        for family in FAMILIES:
            cases = list(family.cases())
            lines = [line(family.header(cases)), *(line(case.as_json()) for case in cases)]
            (directory / f"{family.name}.jsonl").write_text("".join(lines), "ascii")
            schema = json.dumps(family.schema(), indent=1) + "\n"
            (directory / family.schema_name).write_text(schema, "utf-8")
    entries = [{"id": i, "reason": r, "version": v} for i, r, v in WITHDRAWN_CASES]
    header = {"withdrawn": len(entries), "version": VERSION, "license": LICENSE}
    (directory / WITHDRAWN).write_text("".join(map(line, [header, *entries])), "ascii")


@contextmanager
def as_folder(directory: Path) -> Iterator[None]:
    """Let `folder()` be this directory."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(directory)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def write_data(directory: Path) -> None:
    """Write the files that cases name."""
    save_file(dict(wide.tensors()), directory / wide.TENSOR_FILE)
    forward.write_checkpoints(directory)
    (directory / "tokenization").mkdir(exist_ok=True)
    for name in TOKENIZER:
        shutil.copyfile(EMBEDDED / "text" / name, directory / "tokenization" / name)
    (directory / VOCABULARY_FILE).parent.mkdir(exist_ok=True)
    (directory / VOCABULARY_FILE).write_text(line(grammar.vocabulary()), "ascii")


def changed_ids(old: Path, new: Path) -> list[str]:
    """Return the ids whose case would change, be lost without a reason, or be used again."""
    before, after = all_cases(old), all_cases(new)
    withdrawn = withdrawn_ids(new)
    lost = [i for i, case in before.items() if i not in withdrawn and after.get(i) != case]
    return lost + sorted(withdrawn & set(after))


def all_cases(directory: Path) -> dict[str, Case]:
    cases = [case for path in family_files(directory) for case in read_family(path)[1]]
    return {case.id: case for case in cases}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.vectors.generation")
    parser.add_argument("--unpublished", action="store_true", help="allow changed cases")
    options = parser.parse_args(arguments)
    target = folder()
    with tempfile.TemporaryDirectory() as name:
        new = Path(name) / "vectors"  # with the usual permissions, which those of `name` are not
        new.mkdir()
        generate(new)
        wrong = changed_ids(target, new) if target.is_dir() else []
        if wrong and not options.unpublished:
            print(f"error: changed cases need new ids: {', '.join(wrong[:10])}", file=sys.stderr)
            return 1
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(new, target)
        for path in target.rglob("*.safetensors"):
            path.chmod(0o644)
    return 0


if __name__ == "__main__":
    sys.exit(main())
