"""Writes the page of explanations for the site, over a recording instead of a server."""

import json
import shutil
from pathlib import Path

from docs.site.recording import endpoint, record, requests
from explain.page import POLICY, STATIC

FOLDER = "recording/"
# A policy in the document itself cannot have this directive.
META_POLICY = POLICY.replace("frame-ancestors 'none'; ", "")
HEAD = f"""<meta charset="utf-8">
    <meta http-equiv="content-security-policy" content="{META_POLICY}">
    <meta name="recording" content="{FOLDER}">"""
BANNER = """</header>
    <p class="banner">
      Recorded: the model ran when this site was built. Its logits are here, and your browser
      computes every step, for any settings. A text goes on as far as a recorded one does.
      <code>make run</code> serves this page with a model. <a href="../index.html">Documentation</a>
    </p>"""
LOADING = """<p id="status" role="status">Loading… A browser loads this page from a server only,
        for example <code>python -m http.server -d build/docs/html</code>, not from a file.</p>"""
REPLACED = {
    '<meta charset="utf-8">': HEAD,
    "</header>": BANNER,
    '<p id="status" role="status"></p>': LOADING,
}


def write_page(folder: Path) -> None:
    """Write the page, its files, and the recording to a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(STATIC, folder / "explain", ignore=shutil.ignore_patterns("index.html"))
    (folder / "index.html").write_text(recorded_html((STATIC / "index.html").read_text("utf-8")))
    with endpoint() as (client, bundle):
        for path in "openapi.json", "explain/specification.json":
            response = client.get(f"/{path}").raise_for_status()
            text = json.dumps(response.json(), ensure_ascii=False, separators=(",", ":"))
            (folder / path).write_text(text, "utf-8")
        record(client, bundle, requests()).write(folder / FOLDER)


def recorded_html(html: str) -> str:
    """Return the document of the page with a policy, the recording and a note."""
    for old, new in REPLACED.items():
        if html.count(old) != 1:
            raise ValueError(f"index.html must have {old!r} once")
        html = html.replace(old, new)
    return html
