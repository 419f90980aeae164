"""Chromium, driven by Playwright, and the parts of the page that tests read."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 20_000  # milliseconds


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the system's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Page:
    """The page. errors: messages of the browser on its console. expected: parts of messages that
    are not errors of the page, as the browser logs each failed request. origins: of its requests.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.address = ""
        self.errors: list[str] = []
        self.expected: set[str] = set()
        self.origins: set[str] = set()
        page.set_default_timeout(TIMEOUT)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        is_expected = any(part in message.text for part in self.expected)
        if message.type in ("error", "warning") and not is_expected:
            self.errors.append(message.text)

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith("data:"):
            self.origins.add(origin(request.url))

    def open(self, address: str, fragment: str = "") -> None:
        """Open the page, and wait for the end of its first run."""
        self.address = address
        self.page.goto(f"{address}/{fragment}")
        self.wait_for_run()

    def wait_for_run(self) -> None:
        self.page.wait_for_selector('#output[aria-busy="false"]')
        self.page.wait_for_selector("#steps:not([hidden])")

    def wait_until(self, expression: str) -> None:
        """Wait until an expression is true. Playwright's `wait_for_function` evaluates it inside
        the page, which the policy of the page forbids.
        """
        deadline = time.monotonic() + TIMEOUT / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(20)

    def run(self) -> None:
        self.page.click("#run")
        self.wait_until("document.querySelector('#status').textContent !== 'Running…'")
        self.wait_for_run()

    def set(self, name: str, value: object) -> None:
        """Set a parameter with its control."""
        group = f"details.group:has(#parameter-{name})"
        if not self.page.eval_on_selector(group, "details => details.open"):
            self.page.click(f"{group} > summary")
        self.page.fill(f"#parameter-{name}", str(value))

    def select(self, position: int) -> None:
        self.page.click(f"#tokens [role=option] >> nth={position}")

    @property
    def text(self) -> str:
        """The prompt and the generated tokens."""
        return str(self.page.inner_text("#tokens .text"))

    @property
    def status(self) -> str:
        return str(self.page.inner_text("#status"))

    def columns(self) -> dict[str, dict[int, float]]:
        """Return the probability of each row after each step that is shown."""
        script = """table => [...table.querySelectorAll("tbody tr[data-id]")].flatMap(row =>
            [...row.querySelectorAll("td[data-p]")].map(cell =>
                [cell.dataset.step, Number(row.dataset.id), Number(cell.dataset.p)]))"""
        columns: dict[str, dict[int, float]] = {}
        for step, token, p in self.page.eval_on_selector("#steps-table table", script):
            columns.setdefault(step, {})[token] = p
        return columns

    def reasons(self) -> dict[int, tuple[str, str]]:
        """Return the step and the condition that removed each row."""
        script = """table => [...table.querySelectorAll("td.removed")].map(cell =>
            [Number(cell.parentNode.dataset.id), cell.dataset.step,
             cell.querySelector("small").textContent])"""
        removed = self.page.eval_on_selector("#steps-table table", script)
        return {token: (step, reason) for token, step, reason in removed}

    def draw(self) -> list[tuple[int, float, float, float]]:
        """Return (id, logit, noise, score) of each row of the draw."""
        script = """table => [...table.querySelectorAll("tbody tr")].map(row =>
            [row, ...row.querySelectorAll("td[data-value]")].map(e =>
                Number(e.dataset.id ?? e.dataset.value)))"""
        return [tuple(row) for row in self.page.eval_on_selector("#draw-table table", script)]
