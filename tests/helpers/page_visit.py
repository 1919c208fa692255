"""The page in a headless Chromium, in front of a real small model: fixtures, and what a visitor does and sees."""

from __future__ import annotations

import importlib.util
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Running, chromium, model_server, running
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from whole import Whole

WAIT = 20_000  # ms
Opener = Callable[..., Page]
NEEDS_CHROMIUM = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The sandbox needs rights that a container's root has not; the page under test is our own.
        opened = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(browser: Browser, whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with (
        model_server(whole) as server,
        running(whole, tmp_path_factory.mktemp("page"), server.port, 10.0) as app,
    ):
        yield app


@pytest.fixture
def visit(browser: Browser) -> Iterator[Opener]:
    """Opens a browser profile of its own with the page. What the page logs as an error fails the test at its end."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(
        site: Running, *, listed: bool = True, width: int = 1280, quiet: bool = True, dark: bool = False
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        if quiet:
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.goto(site.url)
        if listed:
            settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def settled(page: Page) -> None:
    """Until the list is there and nothing of it is under way."""
    expect(page.locator("#list:not([aria-busy]) > .card").first).to_be_visible(timeout=WAIT)


def ids(page: Page) -> list[str]:
    return page.locator("#list > .card").evaluate_all("cards => cards.map((one) => one.dataset.id)")


def user_of(page: Page) -> str:
    return page.evaluate("JSON.parse(localStorage.getItem('triptych.users')).current")


def listed_after(page: Page, change: Callable[[], object], part: str = "/recommend?") -> list[str]:
    """What is listed once the answer to what `change` does is on the page."""
    with page.expect_response(lambda answer: part in answer.url and answer.status == 200, timeout=WAIT):
        change()
    settled(page)
    return ids(page)


def get(site: Running, path: str, status: int = 200) -> Any:
    try:
        with urllib.request.urlopen(site.url.rstrip("/") + path, timeout=20) as answer:
            found, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        found, content = error.code, error.read()
    assert found == status
    return json.loads(content)


def search(page: Page, words: str) -> list[str]:
    page.fill("#words", words)
    return listed_after(page, lambda: page.press("#words", "Enter"))


def axe_violations(page: Page, skip: bool = True) -> list[str]:
    """What axe-core finds wrong with the page as it is now, one line each.

    Args:
      skip: skip the test where axe-core is not installed; else nothing is found there.
    """
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        if skip:
            pytest.skip("axe-core is not installed: pip install -c constraints.txt -e '.[test]'")
        return []
    page.evaluate(Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{one['id']}: {one['help']}: {node['html'][:200]}" for one in found for node in one["nodes"]]
