"""Builds the documentation site: python -m docs.site [DIRECTORY]"""

import argparse
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

from docs.site.page import write_page
from docs.site.stage import copy_pictures, stage

ROOT = Path(__file__).parents[2]
OPTIONS = ["-b", "html", "--fail-on-warning", "--nitpicky", "--quiet"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m docs.site")
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "build/docs")
    directory = parser.parse_args().directory
    stage(ROOT, directory / "source")
    status = build(directory)
    if status == 0:
        copy_pictures(ROOT, directory / "html")
        write_page(directory / "html/explain")
        print(directory / "html/index.html")
    return status


def build(directory: Path) -> int:
    """Build `source` of a directory in its `html`. Return 0, or another number if there was a
    warning, for example of a link that leads nowhere.
    """
    source, trees = str(directory / "source"), str(directory / "doctrees")
    return sphinx_build(
        [*OPTIONS, "-c", str(ROOT / "docs/site"), "-d", trees, source, str(directory / "html")]
    )


if __name__ == "__main__":
    sys.exit(main())
