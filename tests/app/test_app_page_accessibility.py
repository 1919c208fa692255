"""Keyboard, small screens, contrast, hostile titles, an unavailable server, and tokens. In headless Chromium."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser import EVIL, Running, free_port, relay, running
from page_visit import (
    NEEDS_CHROMIUM,
    WAIT,
    Opener,
    axe_violations,
    browser,
    get,
    ids,
    listed_after,
    search,
    settled,
    site,
    user_of,
    visit,
)
from playwright.sync_api import expect
from whole import Whole

__all__ = ["browser", "site", "visit"]  # fixtures

pytestmark = NEEDS_CHROMIUM


def test_everything_is_reachable_by_keyboard(site: Running, visit: Opener) -> None:
    page = visit(site)

    def tab_to(wanted: str) -> None:
        for _ in range(120):
            page.keyboard.press("Tab")
            if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
                style = page.evaluate(
                    "() => { const one = document.activeElement; const shown = one.closest('.pill') ?? one;"
                    " return getComputedStyle(shown).outlineStyle }"
                )
                assert style == "solid", wanted  # the focus is to be seen
                return
        raise AssertionError(f"no way to {wanted}")

    tab_to(".skip")
    for stop in ("#user", "#new-user", "#open-profile", "#words"):
        tab_to(stop)
    page.keyboard.type("rain")
    listed_after(page, lambda: page.keyboard.press("Enter"))
    tab_to("#chips .chip-x")
    listed_after(page, lambda: page.keyboard.press("Enter"))
    assert page.evaluate("document.activeElement.id") == "words"
    for stop in ("#diversity", "#switch-hideSeen", "#filters .pill input"):
        tab_to(stop)
    listed_after(page, lambda: page.keyboard.press("Space"))
    tab_to(".act.is-like")
    before = ids(page)
    after = listed_after(page, lambda: page.keyboard.press("Enter"))
    assert before[0] not in after
    # the card is gone; the focus is on the same button of the one in its place, not at the top of the page
    where = "document.activeElement.matches('.act.is-like') && document.activeElement.closest('.card').dataset.id"
    assert page.evaluate(where) == after[0]
    page.focus("#open-profile")
    page.keyboard.press("Enter")
    expect(page.locator("#profile .lead")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#profile")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "open-profile"


def test_controls_have_names_and_the_page_fits_a_phone(site: Running, visit: Opener) -> None:
    page = visit(site, width=360)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    controls = page.locator("button:visible, input:visible, select:visible, summary:visible").all()
    assert len(controls) > 60
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, summary')].filter((one) =>
             one.checkVisibility() && !(one.getAttribute('aria-label') ?? '').trim() && !one.textContent.trim()
             && ![...(one.labels ?? [])].some((label) => label.textContent.trim())).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    page.click("#open-profile")
    expect(page.locator("#profile .lead")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


# WCAG 2.1, success criterion 1.4.3: relative luminances of a text and of the nearest opaque ground behind it. What is
# disabled is exempt. [] where every text that is to be seen has a contrast of 4.5.
_FAINT = """() => {
  const parse = (colour) => (colour.match(/^rgba?\\(([^)]*)\\)$/)?.[1] ?? '0,0,0,0').split(',').map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if ((colour[3] ?? 1) === 1) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()
    && !one.matches(':disabled, :disabled *, .hidden, .skip, .toast *, .is-blank, option')
    && [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  const faint = texts.filter((one) => {
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 4.5;
  });
  return [texts.length, faint.map((one) => one.outerHTML.slice(0, 120))];
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_has_enough_contrast(site: Running, visit: Opener, dark: bool) -> None:
    page = visit(site, dark=dark)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(19, 22, 20)" if dark else "rgb(246, 245, 241)")
    mood = get(site, "/about")["categories"][0]["name"]
    page.locator(".pick").first.click()
    search(page, f"a storm, no {mood}, no vampires")
    listed_after(page, page.locator("#filters input[name=media]").first.check)
    count, faint = page.evaluate(_FAINT)
    assert count > 150
    assert faint == []
    page.click("#open-profile")
    page.click("#forget")
    page.mouse.move(0, 0)  # off the button that is now where the other was: what is pointed at has a colour of its own
    assert page.evaluate(_FAINT)[1] == []


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)], ids=["phone-light", "desk-dark"])
def test_axe_finds_nothing(site: Running, visit: Opener, width: int, dark: bool) -> None:
    page = visit(site, width=width, dark=dark)
    expect(page.locator(".pick").first).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert axe_violations(page) == []
    search(page, f"a storm, no {get(site, '/about')['categories'][0]['name']}, no vampires")
    # A list that is under way is faint: it is looked at once it is there.
    listed_after(page, page.get_by_role("button", name="Take back: no vampires").click)
    expect(page.locator(".chip.is-dropped")).to_be_visible()
    assert axe_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.click("#open-profile")
    page.click("#forget")
    page.mouse.move(0, 0)
    assert axe_violations(page) == []


def test_the_page_says_that_the_model_is_loading_and_goes_on_by_itself(
    site: Running, whole: Whole, visit: Opener, tmp_path: Path
) -> None:
    port = free_port()
    with running(whole, tmp_path, port, 1.0, starting=True) as early:
        page = visit(early, listed=False, quiet=False, width=360)  # the browser logs each 503 as an error
        state = page.locator('[data-state="starting"]')
        expect(state).to_be_visible(timeout=WAIT)
        expect(state).to_contain_text("The model is loading")
        assert state.get_attribute("role") == "status"
        assert page.locator('[role="alert"], .pick').count() == 0
        assert get(early, "/health/ready", 503)["model"] == "demo: the model is loading"
        assert axe_violations(page, skip=False) == []
        with relay(port, site.model_port):
            settled(page)  # by itself
            expect(state).to_have_count(0)
            expect(page.locator(".pick").first).to_be_visible()
            assert get(early, "/health/ready")["ready"]


def test_html_in_a_title_is_shown_as_text(site: Running, visit: Opener) -> None:
    page = visit(site)
    item = get(site, f"/items/{site.evil}")
    assert item["title"] == EVIL
    listed_after(page, page.locator("#filters .pill", has_text=item["categories"][0]).click)
    for _ in range(6):
        if site.evil in ids(page) or not page.locator("#more").is_visible():
            break
        listed_after(page, page.locator("#more").click)
    card = page.locator(f'[data-id="{site.evil}"]')
    expect(card.locator("h2")).to_have_text(EVIL)
    listed_after(page, card.locator(".act.is-like").click)
    page.click("#open-profile")
    expect(page.locator("#profile .event")).to_contain_text(EVIL)
    assert page.title() == "Triptych"
    assert page.locator("body script, body img[src=x]").count() == 0


def test_all_resources_are_local_and_no_script_is_inline(site: Running, visit: Opener) -> None:
    page = visit(site)
    urls = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert len(urls) > 10
    assert [url for url in urls if not url.startswith(site.url)] == []
    with urllib.request.urlopen(site.url, timeout=20) as answer:
        html = answer.read().decode()
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert html.count("<script") == 1
    assert 'src="/static/app.js"' in html
    assert "style=" not in html


def test_the_page_reports_an_unavailable_model_server_and_recovers(
    site: Running, whole: Whole, visit: Opener, tmp_path: Path
) -> None:
    port = free_port()
    with running(whole, tmp_path, port, 1.0) as lonely:
        page = visit(lonely, listed=False, quiet=False)  # the browser logs each 503 as an error
        state = page.locator('[data-state="error"]')
        expect(state).to_be_visible(timeout=WAIT)
        expect(state).to_contain_text("Recommendations are unavailable for a moment")
        expect(state).to_contain_text("model server:")
        assert state.get_attribute("role") == "alert"
        assert ids(page) == []
        assert page.locator('[data-state="empty"], [data-state="loading"]').count() == 0
        with relay(port, site.model_port):
            settled(page)  # by itself
            expect(state).to_have_count(0)
            listed_after(page, page.locator(".act.is-like").first.click)
        page.reload()
        expect(state).to_be_visible(timeout=WAIT)
        with relay(port, site.model_port):
            retry = state.get_by_role("button", name="Try again")
            retry.focus()
            page.keyboard.press("Enter")
            settled(page)
        assert get(lonely, f"/users/{user_of(page)}")["events"] == 1


@pytest.mark.matrix
def test_the_page_asks_for_a_token_and_saves_the_event_then(
    site: Running, whole: Whole, visit: Opener, tmp_path: Path
) -> None:
    with running(whole, tmp_path, site.model_port, 10.0, token="the-right-words") as guarded:
        page = visit(guarded, quiet=False)  # the browser logs each 401 as an error
        first = ids(page)
        page.locator(".act.is-like").first.click()
        expect(page.locator("#toast")).to_contain_text("Not saved: a token is needed")
        page.get_by_role("button", name="Give a token").click()
        assert page.evaluate("document.activeElement.id") == "token"
        assert ids(page) == first
        page.keyboard.type("other-words")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Give a token").click()
        page.keyboard.type("the-right-words")
        assert first[0] not in listed_after(page, lambda: page.keyboard.press("Enter"))
        expect(page.locator("#token")).to_have_count(0)
        assert get(guarded, f"/users/{user_of(page)}")["events"] == 1

        page.reload()  # the tab keeps the token
        settled(page)
        listed_after(page, page.locator(".act.is-like").first.click)
        assert get(guarded, f"/users/{user_of(page)}")["events"] == 2

        user = user_of(page)
        page.evaluate("sessionStorage.clear()")
        page.reload()
        settled(page)
        page.click("#open-profile")
        page.click("#forget")
        page.click("#forget-sure")
        expect(page.locator("#profile [role=alert]")).to_contain_text("Not forgotten: a token is needed")
        page.fill("#profile #token", "the-right-words")
        listed_after(page, lambda: page.keyboard.press("Enter"))
        assert get(guarded, f"/users/{user}")["events"] == 0
