"""Links of the repository's Markdown files, which work in a checkout, for the site.

A source file has no page in a checkout's documentation, but it needs one in the site.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

LINK = re.compile(r"(?<!\\)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
SOURCE_PAGES = "source"
# Those that have another path in the site.
PAGES = {
    Path("README.md"): Path("index.md"),
    Path("docs/decisions"): Path("docs/decisions/index.md"),
}
ORPHAN = "---\norphan: true\n---\n"  # in no table of contents
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".js": "javascript", ".yml": "yaml"}


class SourceLinks:
    """Rewrites the links of pages, and collects the files and directories that need pages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.linked: set[Path] = set()  # relative to root

    def rewrite(self, text: str, page: Path) -> str:
        """Return Markdown whose links to source files and directories lead to their pages.

        page: the path of the text, relative to the root.
        """

        def replace(match: re.Match[str]) -> str:
            target = match["target"]
            if "://" in target or target.startswith("mailto:"):
                return match[0]
            path = Path(os.path.normpath(page.parent / target))
            if path in PAGES:
                return f"]({relative(PAGES[path], page)}{match['anchor'] or ''})"
            if not needs_page(self.root / path):
                return match[0]
            self.linked.add(path)
            return f"]({relative(page_of(path), page)})"

        parts, end = [], 0
        for fence in FENCE.finditer(text):
            parts += [LINK.sub(replace, text[end : fence.start()]), fence[0]]
            end = fence.end()
        return "".join([*parts, LINK.sub(replace, text[end:])])

    def pages(self) -> Iterator[tuple[Path, str]]:
        """Return the path and the text of the page of each linked file or directory, and of the
        files in these directories.
        """
        for path in sorted(self.linked):
            if (self.root / path).is_dir():
                files = sorted(p.relative_to(self.root) for p in (self.root / path).glob("*.py"))
                self.linked.update(files)
                lines = (
                    f"- [{file.name}]({relative(page_of(file), page_of(path))})" for file in files
                )
                yield page_of(path), "\n".join([f"{ORPHAN}# {path}/", "", *lines, ""])
        for path in sorted(path for path in self.linked if (self.root / path).is_file()):
            yield page_of(path), source_page(path, (self.root / path).read_text("utf-8"))


def needs_page(path: Path) -> bool:
    """Return whether a path of a checkout has no page or file in the site."""
    return path.is_dir() or path.is_file() and path.suffix in {*LANGUAGES, ""}


def page_of(path: Path) -> Path:
    """Return the path of the page of a file or directory."""
    return (
        Path(SOURCE_PAGES, path, "index.md")
        if not path.suffix
        else Path(SOURCE_PAGES, f"{path}.md")
    )


def source_page(path: Path, text: str) -> str:
    language = LANGUAGES.get(path.suffix, "text")
    fence = "`" * max(3, *(1 + len(run) for run in re.findall("`+", text)), 0)
    head = f"{ORPHAN}# {path}\n\n{fence}{{code-block}} {language}\n:linenos:\n\n"
    return f"{head}{text.rstrip()}\n{fence}\n"


def relative(target: Path, page: Path) -> str:
    """Return the link from a page to another."""
    return os.path.relpath(target, page.parent)
