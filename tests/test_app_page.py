"""The page in a headless Chromium, in front of a real small model."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import EVIL, Running, chromium, free_port, model_server, relay, running
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from whole import Whole

WAIT = 20_000  # ms
Opener = Callable[..., Page]
pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")


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


def asked(page: Page, change: Callable[[], object], part: str = "/recommend?") -> list[str]:
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
    return asked(page, lambda: page.press("#words", "Enter"))


def test_a_like_changes_the_list_and_says_so(site: Running, visit: Opener) -> None:
    page = visit(site)
    before = ids(page)
    liked = page.locator("#list > .card").nth(1)
    title = liked.locator("h2").inner_text()
    after = asked(page, liked.locator(".act.is-like").click)
    assert after != before
    assert before[1] not in after
    expect(page.locator("#toast")).to_contain_text(
        f"Liked {title}. 12 items, {len(set(after) - set(before))} of them new"
    )
    assert page.locator("#toast").get_attribute("aria-live") == "polite"
    recent = get(site, f"/users/{user_of(page)}")["recent"]
    assert [(one["kind"], one["item"]) for one in recent] == [("like", before[1])]
    told = get(site, f"/recommend?user={user_of(page)}&k=12")["items"]
    for card, item in zip(page.locator("#list > .card").all(), told, strict=True):
        assert card.locator(".reason").all_inner_texts() == [one["text"] for one in item["reasons"]]
        shares = [f"{round(100 * share)}%" for share in item["modality_weights"].values() if share > 0]
        assert card.locator(".bar-value").all_inner_texts() == shares


def test_dislikes_ratings_and_what_is_left_out(site: Running, visit: Opener) -> None:
    page = visit(site)

    def act(item: str, button: str) -> list[str]:
        return asked(page, page.locator(f'[data-id="{item}"] {button}').click)

    # Each from the list that the one before has left: any other may be gone with it.
    first = ids(page)[0]
    left = act(first, ".is-dislike")
    second = left[0]
    left_then = act(second, ".is-not")
    third = left_then[0]
    left_last = act(third, ".is-less")
    fourth = left_last[0]
    assert first not in left
    assert second not in left_then
    assert third not in left_last
    assert fourth not in act(fourth, ".rate-step:nth-of-type(2)")
    recent = get(site, f"/users/{user_of(page)}")["recent"]
    assert [(one["kind"], one["item"], one["scope"], one["value"]) for one in recent] == [
        ("rating", fourth, "item", 2.0), ("dislike", third, "kind", None), ("dislike", first, "item", None),
    ]  # fmt: skip
    chip = page.locator(".chip.is-without")
    expect(chip).to_have_count(1)
    assert len(asked(page, chip.get_by_role("button").click)) == 12
    expect(chip).to_have_count(0)


def test_words_become_chips_that_are_taken_back(site: Running, visit: Opener) -> None:
    page = visit(site)
    mood = get(site, "/about")["categories"][0]["name"]
    by_words = search(page, "a storm at night")
    without = search(page, f"no {mood}")
    chips = page.locator("#said .chip-text")
    assert chips.all_inner_texts() == ["“a storm at night”", f"no {mood}"]
    assert all(mood not in get(site, f"/items/{item}")["categories"] for item in without)
    asked(page, page.get_by_role("button", name=f"Take back: no {mood}").click)
    assert chips.all_inner_texts() == ["“a storm at night”"]
    assert ids(page) == by_words
    asked(page, page.get_by_role("button", name="Take back: a storm at night").click)
    expect(page.locator("#said")).to_be_hidden()
    expect(page.locator("#examples")).to_be_visible()
    search(page, f"rain, no {mood}")
    assert chips.all_inner_texts() == [f"“rain, no {mood}”", f"no {mood}"]
    asked(page, page.get_by_role("button", name=f"Take back: no {mood}").click)
    assert chips.all_inner_texts() == [f"“rain, no {mood}”", f"no {mood}: as words only"]
    asked(page, page.get_by_role("button", name="Make it a condition again").click)
    assert chips.all_inner_texts() == [f"“rain, no {mood}”", f"no {mood}"]
    recent = get(site, f"/users/{user_of(page)}")["recent"]
    assert [one["text"] for one in recent] == [f"rain, no {mood}", f"no {mood}", "a storm at night"]


def test_a_clip_plays_and_counts_as_a_click(site: Running, visit: Opener) -> None:
    page = visit(site)
    asked(page, page.get_by_label("has a sound").check)
    card = page.locator("#list > .card").first
    item = card.get_attribute("data-id")
    with page.expect_response(lambda answer: answer.url.endswith("/events")):
        card.get_by_role("button", name="Play the sound of").click()
    expect(card.get_by_role("button", name="Pause the sound of")).to_be_visible()
    expect(card.locator("audio")).to_have_js_property("ended", True, timeout=WAIT)
    assert card.locator("audio").evaluate("one => one.error === null && one.currentTime === one.duration")
    expect(card.locator(".player-time")).to_have_text("0:02 / 0:02")
    expect(card.get_by_role("button", name="Play the sound of")).to_be_visible()
    recent = get(site, f"/users/{user_of(page)}")["recent"]
    assert [(one["kind"], one["item"]) for one in recent] == [("click", item)]


def test_filters_diversity_and_similar(site: Running, visit: Opener) -> None:
    page = visit(site)
    whole_list = ids(page)
    mood = get(site, "/about")["categories"][1]["name"]
    some = asked(page, page.locator("#filters .pill", has_text=mood).click)
    assert {name for item in some for name in get(site, f"/items/{item}")["categories"]} == {mood}
    asked(page, page.locator("#clear-filters").click)
    assert ids(page) == whole_list
    page.focus("#diversity")
    diverse = asked(page, lambda: page.keyboard.press("End"))
    expect(page.locator("#filters output")).to_have_text("1.0")
    answer = get(site, f"/recommend?user={user_of(page)}&k=12&diversity=1")
    assert diverse == [one["id"] for one in answer["items"]] != whole_list
    title = page.locator("#list h2").first.inner_text()
    near = asked(page, page.locator(".act.is-similar").first.click, "/similar?")
    expect(page.locator("h1")).to_have_text(f"Like {title}")
    assert near == [one["id"] for one in get(site, f"/similar?item={diverse[0]}&k=12")["items"]]


def test_an_empty_list_says_why_and_how_to_go_on(site: Running, visit: Opener) -> None:
    page = visit(site)
    mood = get(site, "/about")["categories"][0]["name"]
    search(page, f"no {mood}")
    page.get_by_label(mood, exact=True).check()
    expect(page.locator('[data-state="empty"]')).to_be_visible(timeout=WAIT)
    assert page.locator('[data-state="error"]').count() == 0
    asked(page, page.get_by_role("button", name="Take back the last words").click)
    assert page.locator('[data-state="empty"]').count() == 0


def test_the_taste_picker_makes_a_first_list(site: Running, visit: Opener) -> None:
    page = visit(site)
    before = ids(page)
    picks = page.locator(".pick")
    expect(picks).to_have_count(12)
    expect(page.get_by_role("button", name="Show my list")).to_be_disabled()
    picks.nth(0).click()
    picks.nth(3).click()
    picks.nth(3).click()  # taken back
    picks.nth(5).click()
    expect(page.locator('.pick[aria-pressed="true"]')).to_have_count(2)
    assert asked(page, page.get_by_role("button", name="Show my list").click) != before
    expect(page.locator("#picker")).to_be_hidden()
    wanted = [one["id"] for one in get(site, "/picker?k=12")["items"]]
    recent = get(site, f"/users/{user_of(page)}")["recent"]
    assert {(one["kind"], one["item"]) for one in recent} == {("like", wanted[0]), ("like", wanted[5])}


def test_forget_me_leaves_nothing_and_another_id(site: Running, visit: Opener) -> None:
    page = visit(site)
    newcomer = ids(page)
    asked(page, page.locator(".act.is-like").first.click)
    old = user_of(page)
    page.click("#open-profile")
    expect(page.locator("#profile .lead")).to_contain_text("of your 1 events")
    page.click("#forget")
    assert get(site, f"/users/{old}")["events"] == 1  # not before the second step
    assert asked(page, page.locator("#forget-sure").click) == newcomer
    expect(page.locator("#profile")).to_be_hidden()
    expect(page.locator("#toast")).to_contain_text("Forgotten: 1 event,")
    assert get(site, f"/users/{old}")["events"] == 0
    assert user_of(page) != old
    assert old not in page.evaluate("JSON.stringify(localStorage)")


def test_two_users_never_see_each_other(site: Running, visit: Opener) -> None:
    ann, ben = visit(site), visit(site)
    newcomer = ids(ben)
    assert user_of(ann) != user_of(ben)
    liked = ids(ann)[0]
    title = ann.locator("#list h2").first.inner_text()
    asked(ann, ann.locator(".act.is-like").first.click)
    search(ann, "something of my own")
    assert asked(ben, lambda: ben.reload()) == newcomer
    ben.click("#open-profile")
    expect(ben.locator("#profile .lead")).to_contain_text("Nothing is known of you")
    assert title not in ben.locator("#profile").inner_text()
    # and two in one browser: nothing of the first is left on the page, and all of it is there on the way back
    first = user_of(ann)
    assert asked(ann, ann.locator("#new-user").click) == newcomer
    assert user_of(ann) != first
    assert "something of my own" not in ann.locator("body").inner_text()
    assert ann.locator(".reason.is-history").count() == 0
    back = asked(ann, lambda: ann.select_option("#user", first))
    assert liked not in back
    assert len(get(site, f"/users/{first}")["recent"]) == 2


def test_the_keyboard_alone_is_enough(site: Running, visit: Opener) -> None:
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
    asked(page, lambda: page.keyboard.press("Enter"))
    tab_to("#said .chip-x")
    asked(page, lambda: page.keyboard.press("Enter"))
    assert page.evaluate("document.activeElement.id") == "words"
    for stop in ("#diversity", "#switch-hideSeen", "#filters .pill input"):
        tab_to(stop)
    asked(page, lambda: page.keyboard.press("Space"))
    tab_to(".act.is-like")
    before = ids(page)
    after = asked(page, lambda: page.keyboard.press("Enter"))
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


def test_every_control_has_a_name_and_nothing_is_wider_than_a_phone(site: Running, visit: Opener) -> None:
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
def test_every_text_stands_out_from_its_ground(site: Running, visit: Opener, dark: bool) -> None:
    page = visit(site, dark=dark)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(19, 22, 20)" if dark else "rgb(246, 245, 241)")
    mood = get(site, "/about")["categories"][0]["name"]
    search(page, f"a storm, no {mood}")
    page.locator(".pick").first.click()
    asked(page, page.locator("#filters input[name=media]").first.check)
    count, faint = page.evaluate(_FAINT)
    assert count > 150
    assert faint == []
    page.click("#open-profile")
    page.click("#forget")
    page.mouse.move(0, 0)  # off the button that is now where the other was: what is pointed at has a colour of its own
    assert page.evaluate(_FAINT)[1] == []


def test_html_in_a_title_is_text(site: Running, visit: Opener) -> None:
    page = visit(site)
    item = get(site, f"/items/{site.evil}")
    assert item["title"] == EVIL
    asked(page, page.locator("#filters .pill", has_text=item["categories"][0]).click)
    for _ in range(6):
        if site.evil in ids(page) or not page.locator("#more").is_visible():
            break
        asked(page, page.locator("#more").click)
    card = page.locator(f'[data-id="{site.evil}"]')
    expect(card.locator("h2")).to_have_text(EVIL)
    asked(page, card.locator(".act.is-like").click)
    page.click("#open-profile")
    expect(page.locator("#profile .event")).to_contain_text(EVIL)
    assert page.title() == "Triptych"
    assert page.locator("body script, body img[src=x]").count() == 0


def test_nothing_comes_from_elsewhere_and_no_script_stands_in_the_page(site: Running, visit: Opener) -> None:
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


def test_without_its_model_server_the_page_says_so_and_comes_back(
    site: Running, whole: Whole, visit: Opener, tmp_path: Path
) -> None:
    port = free_port()
    with running(whole, tmp_path, port, 1.0) as lonely:
        page = visit(lonely, listed=False, quiet=False)  # the browser logs each 503 as an error
        state = page.locator('[data-state="error"]')
        expect(state).to_be_visible(timeout=WAIT)
        expect(state).to_contain_text("Recommendations are away for a moment")
        expect(state).to_contain_text("model server:")
        assert state.get_attribute("role") == "alert"
        assert ids(page) == []
        assert page.locator('[data-state="empty"], [data-state="loading"]').count() == 0
        with relay(port, site.model_port):
            settled(page)  # by itself
            expect(state).to_have_count(0)
            asked(page, page.locator(".act.is-like").first.click)
        page.reload()
        expect(state).to_be_visible(timeout=WAIT)
        with relay(port, site.model_port):
            retry = state.get_by_role("button", name="Try again")
            retry.focus()
            page.keyboard.press("Enter")
            settled(page)
        assert get(lonely, f"/users/{user_of(page)}")["events"] == 1
