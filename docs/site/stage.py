"""Writes the source of the site: the repository's Markdown files in the places they have in a
checkout, so that their links work, a page per parameter, and a page per linked source file.
"""

import shutil
from pathlib import Path

from docs.site.chart import charts
from docs.site.lessons import lessons_page
from docs.site.links import SourceLinks
from docs.site.parameters import parameter_pages

PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/results.md",
    "benchmarks/notes.md",
    "conformance/third_party/README.md",
    "examples/vectors/README.md",
)
FILES = (
    "docs/**/*.svg",
    "docs/**/*.png",
    "docs/**/*.html",
    "benchmarks/*.svg",
    "vectors/*.jsonl",
)

# Of generated pages without a title.
TITLES = {
    Path("docs/conformance/servers-checks.md"): "Servers, check by check",
}

# The headings of the navigation, and the pages below them. Other pages of docs/ are below the last.
NAVIGATION = {
    "Parameters": [
        "step-by-step",
        "parameters/index",
        "docs/structured-output",
        "docs/images",
        "docs/parameters",
    ],
    "Operation": [
        "docs/operation",
        "docs/tpu",
        "docs/gpu",
        "Benchmarks <benchmarks/results>",
        "benchmarks/notes",
    ],
    "Conformance": [
        "docs/conformance/README",
        "docs/conformance/servers",
        "docs/conformance/servers-checks",
        "docs/conformance/implementers",
        "docs/conformance/checks",
        "docs/conformance/mutants",
        "docs/conformance/power",
    ],
    "Test vectors": [
        "docs/vectors",
        "docs/vectors-engines",
        "examples/vectors/README",
    ],
    "Models": ["docs/embedded-model", "docs/embedded-vision"],
    "Project": [
        "ARCHITECTURE",
        "docs/glossary",
        "docs/decisions/index",
        "CONTRIBUTING",
        "CHANGELOG",
    ],
}


def stage(root: Path, target: Path) -> None:
    """Write Sphinx's source to a directory, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    documents = sorted(root.glob("docs/**/*.md"))
    paths = [Path(page) for page in PAGES] + [path.relative_to(root) for path in documents]
    links = SourceLinks(root)
    texts = {path: (root / path).read_text("utf-8") for path in paths}
    texts |= {path: f"# {title}\n\n{texts[path]}" for path, title in TITLES.items()}
    texts |= parameter_pages(root)
    texts[Path("docs/decisions/index.md")] = decisions(paths)
    texts[Path("step-by-step.md")] = lessons_page()
    for path, text in texts.items():
        if path == Path("README.md"):
            write(target / "index.md", links.rewrite(text, path) + navigation(texts))
        else:
            write(target / path, links.rewrite(text, path))
    for path, text in links.pages():
        write(target / path, text)
    for name, svg in charts().items():
        write(target / "parameters" / name, svg)
    for pattern in FILES:
        for file in root.glob(pattern):
            copy = target / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def copy_pictures(root: Path, target: Path) -> None:
    """Copy the pictures that pages show with HTML, which Sphinx leaves as it is."""
    for file in (*root.glob("docs/*.png"), *root.glob("docs/page/*.png")):
        copy = target / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def navigation(texts: dict[Path, str]) -> str:
    """Return the table of contents, which the navigation shows: all pages. Raises ValueError if a
    page of it does not exist.
    """
    listed = {document(page) for pages in NAVIGATION.values() for page in pages}
    names = {path.with_suffix("").as_posix() for path in texts if not is_indexed(path)}
    if missing := listed - names:
        raise ValueError(f"pages of the navigation do not exist: {sorted(missing)}")
    trees = ""
    for heading, pages in NAVIGATION.items():
        others = sorted(names - listed) if heading == list(NAVIGATION)[-1] else []
        trees += toctree([*pages, *others], f":caption: {heading}\n:hidden:")
    return f"\n{trees}"


def document(entry: str) -> str:
    """Return the document of an entry of the navigation, which may have a title: `title <page>`."""
    return entry.partition("<")[2].rstrip(">") or entry


def decisions(paths: list[Path]) -> str:
    names = sorted(path.stem for path in paths if path.parent == Path("docs/decisions"))
    return "# Decisions\n\nOne page for each question that had several answers.\n\n" + toctree(
        names
    )


def toctree(pages: list[str], options: str = ":maxdepth: 1") -> str:
    lines = "\n".join(pages)
    return f"```{{toctree}}\n{options}\n\n{lines}\n```\n\n"


def is_indexed(path: Path) -> bool:
    """Return whether a page is in the table of contents of another page, or is the first page."""
    in_folder = path.parent in (Path("docs/decisions"), Path("parameters"))
    return path == Path("README.md") or (in_folder and path.name != "index.md")
