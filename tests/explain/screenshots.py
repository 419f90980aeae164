"""Makes the pictures of the page in docs/page: python -m tests.explain.screenshots

Needs Chromium. The pictures are of the embedded model, with a fixed seed.
"""

from pathlib import Path
from typing import Any

from tests.api.conftest import running_server
from tests.conftest import serve
from tests.explain.browser.browser import Page, chromium
from tests.explain.conftest import explained_app

FOLDER = Path(__file__).parents[2] / "docs" / "page"
FRAGMENT = (
    "#prompt=Once+upon+a+time+there+was+a&repetition_penalty=1.2&temperature=0.9&top_k=9&top_p=0.85"
    "&seed=12&max_tokens=44&token=0"
)
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1360, "height": 1400}},
    "phone": {
        "viewport": {"width": 360, "height": 1100},
        "is_mobile": True,
        "device_scale_factor": 2,
    },
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    served = serve("reference")
    with running_server(explained_app(served)) as address, chromium() as browser:
        for size, options in SIZES.items():
            for scheme in "light", "dark":
                context = browser.new_context(**options, color_scheme=scheme)
                page = Page(context.new_page())
                page.open(address, FRAGMENT)
                if size == "phone":
                    page.page.evaluate("document.querySelector('#output').scrollIntoView()")
                page.page.screenshot(path=FOLDER / f"{size}-{scheme}.png")
                context.close()
    served.engine.close()


if __name__ == "__main__":
    main()
