"""Keeps the vocabulary of the field: word list, docstring openings, test titles, sizes, cycles.

`python -m tests.test_style PATH …` prints the violations below some paths.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("reference", "jax_backend", "api", "explain", "conformance")
MAX_FILE_LINES, MAX_CLASS_LINES, MAX_PACKAGE_FILES = 300, 150, 18
UNLIMITED_PACKAGES = {"conformance/checks", "tests/conformance/mutants"}  # a file a parameter
MIN_VERB_SHARE = 0.12

# Word → what to write instead. An entry matches prose, and each word of an identifier.
WORDS = {
    "anybody": "the actor: client, caller, request",
    "asked": "requested; params, request",
    "beside": "next to, compared with, in addition to",
    "crowd": "concurrent load, batch",
    "crowds": "concurrent load, batch",
    "everybody": "the actor",
    "found": "the noun of the result",
    "likeliest": "most likely, argmax, top",
    "likewise": "also",
    "nobody": "the actor, or a passive",
    "sight": "vision, image processor",
    "somebody": "the actor",
    "told": "reported, given; flags",
}
PHRASES = {
    r"adds? up|added up": "sums, accumulates",
    r"as (?:it|they) comes?": "as received; eager",
    r"but for (?:the|a|its|their|one)\b": "except for",
    r"g[ia]ves? way|giv(?:es|en|ing) way": "is preempted",
    r"(?<!there )(?:is|are|was|were) no (?!longer\b|more\b|\w+er\b)\w+": "is not a",
    r"rounds? (?:alike|otherwise)": "is bitwise identical across batch sizes",
    r"stands? (?:in|at|for|next|there|here|before|after|on)\b": "is in, is at, denotes",
    r"(?:holds?|held) \w+ against": "checks, tests",
    r"on purpose": "mutant, deliberately wrong",
    r"colour|behaviour|honour|centred": "American spelling",
    r"(?:normal|token|initial|penal|serial|optim)is(?:e|ing|ation)": "American spelling",
}
ALLOWED = re.compile(r"not[ _-]found|NotFound|FileNotFound|PackageNotFound|ModuleNotFound", re.I)
OPENINGS = re.compile(r"(Of|What|Whether|How|Those|Where|Who|Why|Nothing|Nobody)\b")
TITLES = re.compile(
    r"test_(a|an|the|it|its|they|them|these|those|this|that|what|where|whose|who|when|nothing|nobody"
    r"|one|all|every|each|no|some|any|both|neither|whatever|whoever)(_|$)"
)
VERBS = re.compile(
    r"(Abort|Add|Admit|Allocate|Append|Apply|Assert|Attach|Batch|Begin|Bind|Broadcast|Build|Bring|"
    r"Call|Cache|Cancel|Cast|Change|Check|Choose|Clamp|Close|Collect|Combine|Compare|Compile|Compute|"
    r"Concatenate|Configure|Convert|Copy|Count|Create|Cut|Decide|Decode|Define|Delete|Derive|"
    r"Describe|Detokenize|Discard|Dispatch|Divide|Draw|Drop|Emit|Enable|Encode|End|Enqueue|Ensure|"
    r"Estimate|Evict|Expand|Explain|Export|Extend|Extract|Fail|Fetch|Fill|Find|Finish|Flush|Follow|"
    r"Fold|Fork|Format|Free|Gather|Generate|Get|Give|Group|Handle|Hash|Ignore|Implement|Insert|"
    r"Intersect|Invert|Iterate|Join|Judge|Keep|Launch|List|Load|Look|Lower|Make|Map|Mark|Mask|Match|"
    r"Measure|Merge|Move|Multiply|Name|Normalize|Open|Pack|Pad|Parse|Pick|Place|Plan|Plot|Precompile|"
    r"Preempt|Prefill|Prepare|Preprocess|Print|Probe|Process|Project|Propose|Prune|Put|Queue|Quote|"
    r"Raise|Read|Recompute|Record|Reduce|Refuse|Register|Reject|Release|Remove|Rename|Render|Repeat|"
    r"Replace|Report|Request|Requeue|Require|Rescale|Reserve|Reset|Resize|Resolve|Restore|Return|Rotate|Run|"
    r"Sample|Save|Scale|Scan|Schedule|Score|Search|Select|Send|Serve|Set|Shard|Share|Shift|Show|Shut|"
    r"Simulate|Skip|Sort|Split|Start|Stop|Store|Stream|Strip|Submit|Subtract|Sum|Take|Tell|Test|"
    r"Tokenize|Trace|Train|Transform|Translate|Truncate|Try|Turn|Unite|Update|Upload|Use|Validate|"
    r"Verify|Wait|Walk|Warm|Wrap|Write|Yield)(s|es)?\b"
)
GENERATED = {
    "docs/conformance/mutants.json",
    "docs/conformance/servers-checks.md",
}
CORPORA = (
    "jax_backend/training/text/",  # the sentences of the training text are data
    "jax_backend/training/vision/scenes.py",
    "docs/embedded-model.md",
    "docs/embedded-vision.md",
    "tests/goldens/",
    "tests/test_style.py",
    "docs/glossary.md",  # names the old words
    "requirements",
)


@cache
def files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def prose_files() -> list[str]:
    return [
        name
        for name in files()
        if name.endswith((".py", ".md", ".in", ".jinja", ".toml", "Makefile"))
        and name not in GENERATED
        and not name.startswith(CORPORA)
    ]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text("utf-8"))


def python_files(*rooms: str) -> list[str]:
    return [f for f in files() if f.endswith(".py") and f.startswith(rooms)]


WORD_PATTERN = re.compile(r"(?<![A-Za-z])(" + "|".join(WORDS) + r")(?![A-Za-z])", re.I)
PHRASE_PATTERN = re.compile("|".join(rf"(?<![A-Za-z])(?:{p})" for p in PHRASES), re.I)


def vocabulary_violations(name: str) -> Iterator[str]:
    text = ALLOWED.sub("", (ROOT / name).read_text("utf-8"))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)  # the words of a CamelCase name
    for match in [*WORD_PATTERN.finditer(text), *PHRASE_PATTERN.finditer(text)]:
        number = text.count("\n", 0, match.start()) + 1
        yield f"{name}:{number}: {match[0]!r}: {text.splitlines()[number - 1].strip()[:90]}"


def docstrings(name: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(name)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def opening_violations(name: str) -> Iterator[str]:
    for line, text in docstrings(name):
        if OPENINGS.match(text):
            yield f"{name}:{line}: opens with {text.split()[0]!r}: {text[:70]!r}"


def title_violations(name: str) -> Iterator[str]:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef) and TITLES.match(node.name):
            yield f"{name}:{node.lineno}: {node.name}"


def size_violations(name: str) -> Iterator[str]:
    lines = len((ROOT / name).read_text("utf-8").splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{name}: {lines} lines"
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ClassDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_CLASS_LINES:
                yield f"{name}:{node.lineno}: class {node.name} has {length} lines"


def imports(name: str, modules: dict[str, str]) -> set[str]:
    """Files that a file imports when it is loaded, without TYPE_CHECKING and lazy imports."""
    targets: set[str] = set()
    for node in tree(name).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                target = modules.get(f"{node.module}.{alias.name}") or modules.get(node.module)
                targets |= {target} if target else set()
    return targets - {name}


def cycles(room: str) -> list[str]:
    names = python_files(f"{room}/")
    modules = {n.removesuffix(".py").removesuffix("/__init__").replace("/", "."): n for n in names}
    try:
        list(TopologicalSorter({n: imports(n, modules) for n in names}).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def violations(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name in prose_files():
            yield from vocabulary_violations(name)
        if name.endswith(".py"):
            yield from opening_violations(name)
            if name.startswith("tests/"):
                yield from title_violations(name)
            elif name.startswith(ROOMS):
                yield from size_violations(name)


@pytest.mark.parametrize("name", prose_files())
def test_vocabulary(name: str) -> None:
    assert not list(vocabulary_violations(name)), "docs/glossary.md has the terms"


@pytest.mark.parametrize("name", python_files("benchmarks/", "tests/", *ROOMS))
def test_docstring_openings(name: str) -> None:
    assert not list(opening_violations(name))


@pytest.mark.parametrize("room", ROOMS)
def test_share_of_docstrings_that_open_with_a_verb(room: str) -> None:
    texts = [text for name in python_files(f"{room}/") for _, text in docstrings(name)]
    assert sum(bool(VERBS.match(text)) for text in texts) >= MIN_VERB_SHARE * len(texts)


@pytest.mark.parametrize("name", python_files("tests/"))
def test_titles(name: str) -> None:
    assert not list(title_violations(name))


@pytest.mark.parametrize("name", python_files(*ROOMS))
def test_sizes(name: str) -> None:
    assert not list(size_violations(name))


def test_package_sizes() -> None:
    folders: dict[str, int] = {}
    for name in python_files("tests/", *ROOMS):
        folder = str(Path(name).parent)
        folders[folder] = folders.get(folder, 0) + 1
    large = {f: n for f, n in folders.items() if n > MAX_PACKAGE_FILES}
    assert set(large) <= UNLIMITED_PACKAGES, large


@pytest.mark.parametrize("room", ROOMS)
def test_import_cycles(room: str) -> None:
    assert not cycles(room)


def test_violations_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'def test_the_row() -> None:\n    """What is found beside it."""\n    told = 1\n'
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_x.py").write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    name = "tests/test_x.py"
    assert len(list(vocabulary_violations(name))) == 3
    assert list(opening_violations(name)) and list(title_violations(name))


if __name__ == "__main__":
    paths = tuple(sys.argv[1:])
    lines = list(violations(n for n in files() if n.startswith(paths)))
    print("\n".join(lines), f"{len(lines)} violations", sep="\n")
