"""The page in a headless Chromium with a real small model: what a visitor does."""

from __future__ import annotations

import pytest
from browser import Running
from page_visit import NEEDS_CHROMIUM, WAIT, Opener, browser, get, ids, listed_after, search, site, user_of, visit
from playwright.sync_api import expect

__all__ = ["browser", "site", "visit"]  # fixtures

pytestmark = NEEDS_CHROMIUM


def test_a_like_changes_the_list_and_is_announced(site: Running, visit: Opener) -> None:
    page = visit(site)
    before = ids(page)
    liked = page.locator("#list > .card").nth(1)
    title = liked.locator("h2").inner_text()
    after = listed_after(page, liked.locator(".act.is-like").click)
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


def test_dislikes_ratings_and_excluded_items(site: Running, visit: Opener) -> None:
    page = visit(site)

    def act(item: str, button: str) -> list[str]:
        return listed_after(page, page.locator(f'[data-id="{item}"] {button}').click)

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
    assert len(listed_after(page, chip.get_by_role("button").click)) == 12
    expect(chip).to_have_count(0)


def test_queries_become_chips_that_can_be_removed(site: Running, visit: Opener) -> None:
    page = visit(site)
    mood = get(site, "/about")["categories"][0]["name"]
    by_words = search(page, "a storm at night")
    without = search(page, f"no {mood}")
    chips = page.locator("#chips .chip-text")
    assert chips.all_inner_texts() == ["“a storm at night”", f"no {mood}"]
    assert all(mood not in get(site, f"/items/{item}")["categories"] for item in without)
    listed_after(page, page.get_by_role("button", name=f"Take back: no {mood}").click)
    assert chips.all_inner_texts() == ["“a storm at night”"]
    assert ids(page) == by_words
    listed_after(page, page.get_by_role("button", name="Take back: a storm at night").click)
    expect(page.locator("#chips")).to_be_hidden()
    expect(page.locator("#examples")).to_be_visible()
    search(page, f"rain, no {mood}")
    assert chips.all_inner_texts() == [f"“rain, no {mood}”", f"no {mood}"]
    listed_after(page, page.get_by_role("button", name=f"Take back: no {mood}").click)
    assert chips.all_inner_texts() == [f"“rain, no {mood}”", f"no {mood}: as words only"]
    listed_after(page, page.get_by_role("button", name="Make it a condition again").click)
    assert chips.all_inner_texts() == [f"“rain, no {mood}”", f"no {mood}"]
    recent = get(site, f"/users/{user_of(page)}")["recent"]
    assert [one["text"] for one in recent] == [f"rain, no {mood}", f"no {mood}", "a storm at night"]


def test_answers_come_first_and_the_taste_picker_steps_aside(site: Running, visit: Opener) -> None:
    page = visit(site, width=360)
    picker = page.locator("#picker")
    page.locator(".pick").nth(1).click()
    search(page, "a storm at night")
    expect(picker).to_be_hidden()
    top = page.locator("#list > .card").first.bounding_box()
    assert top is not None
    assert top["y"] < 450  # half of the screen
    listed_after(page, page.get_by_role("button", name="Take back: a storm at night").click)
    expect(picker).to_be_visible()
    expect(page.locator('.pick[aria-pressed="true"]')).to_have_count(1)  # what was chosen is kept


def test_words_without_a_meaning_are_said_back_and_not_searched_for(site: Running, visit: Opener) -> None:
    page = visit(site)
    shown = search(page, "a storm at night, no vampires")
    answer = get(site, f"/recommend?user={user_of(page)}&k=12&turn=a%20storm%20at%20night")
    assert shown == [one["id"] for one in answer["items"]]
    assert page.locator("#chips .chip-text").all_inner_texts() == [
        "“a storm at night, no vampires”",
        "no vampires: not understood",
    ]
    expect(page.locator("#notes")).to_contain_text("Not understood: “no vampires”. Nothing here is called that")
    expect(page.locator("#toast")).to_contain_text("Not understood: “no vampires”. 12 items")
    listed_after(page, page.get_by_role("button", name="Take back: no vampires").click)
    assert page.locator("#chips .chip-text").all_inner_texts()[1:] == ["no vampires: as words only"]
    expect(page.locator("#notes")).not_to_contain_text("Not understood")
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator("#chips")).to_be_hidden()
    search(page, "keine Clowns")
    assert page.locator("#chips .chip-text").all_inner_texts() == ["keine Clowns: not understood"]
    expect(page.locator("#list-heading")).to_have_text("For you")
    expect(page.locator("#based-on")).to_have_text("From what is popular.")


def test_a_clip_plays_and_counts_as_a_click(site: Running, visit: Opener) -> None:
    page = visit(site)
    listed_after(page, page.get_by_label("has a sound").check)
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
    some = listed_after(page, page.locator("#filters .pill", has_text=mood).click)
    assert {name for item in some for name in get(site, f"/items/{item}")["categories"]} == {mood}
    listed_after(page, page.locator("#clear-filters").click)
    assert ids(page) == whole_list
    page.focus("#diversity")
    diverse = listed_after(page, lambda: page.keyboard.press("End"))
    expect(page.locator("#filters output")).to_have_text("1.0")
    answer = get(site, f"/recommend?user={user_of(page)}&k=12&diversity=1")
    assert diverse == [one["id"] for one in answer["items"]] != whole_list
    title = page.locator("#list h2").first.inner_text()
    near = listed_after(page, page.locator(".act.is-similar").first.click, "/similar?")
    expect(page.locator("h1")).to_have_text(f"Like {title}")
    assert near == [one["id"] for one in get(site, f"/similar?item={diverse[0]}&k=12")["items"]]


def test_an_empty_list_gives_the_cause_and_a_remedy(site: Running, visit: Opener) -> None:
    page = visit(site)
    mood = get(site, "/about")["categories"][0]["name"]
    search(page, f"no {mood}")
    page.get_by_label(mood, exact=True).check()
    expect(page.locator('[data-state="empty"]')).to_be_visible(timeout=WAIT)
    assert page.locator('[data-state="error"]').count() == 0
    listed_after(page, page.get_by_role("button", name="Take back the last words").click)
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
    assert listed_after(page, page.get_by_role("button", name="Show my list").click) != before
    expect(page.locator("#picker")).to_be_hidden()
    wanted = [one["id"] for one in get(site, "/picker?k=12")["items"]]
    recent = get(site, f"/users/{user_of(page)}")["recent"]
    assert {(one["kind"], one["item"]) for one in recent} == {("like", wanted[0]), ("like", wanted[5])}


def test_forget_me_deletes_everything_and_changes_the_id(site: Running, visit: Opener) -> None:
    page = visit(site)
    newcomer = ids(page)
    listed_after(page, page.locator(".act.is-like").first.click)
    old = user_of(page)
    page.click("#open-profile")
    expect(page.locator("#profile .lead")).to_contain_text("of your 1 events")
    page.click("#forget")
    assert get(site, f"/users/{old}")["events"] == 1  # not before the second step
    assert listed_after(page, page.locator("#forget-sure").click) == newcomer
    expect(page.locator("#profile")).to_be_hidden()
    expect(page.locator("#toast")).to_contain_text("Forgotten: 1 event,")
    assert get(site, f"/users/{old}")["events"] == 0
    assert user_of(page) != old
    assert old not in page.evaluate("JSON.stringify(localStorage)")


@pytest.mark.matrix
def test_two_users_never_see_each_other(site: Running, visit: Opener) -> None:
    ann, ben = visit(site), visit(site)
    newcomer = ids(ben)
    assert user_of(ann) != user_of(ben)
    liked = ids(ann)[0]
    title = ann.locator("#list h2").first.inner_text()
    listed_after(ann, ann.locator(".act.is-like").first.click)
    search(ann, "something of my own")
    assert listed_after(ben, lambda: ben.reload()) == newcomer
    ben.click("#open-profile")
    expect(ben.locator("#profile .lead")).to_contain_text("Nothing is known about you")
    assert title not in ben.locator("#profile").inner_text()
    # and two in one browser: nothing of the first is left on the page, and all of it is there on the way back
    first = user_of(ann)
    assert listed_after(ann, ann.locator("#new-user").click) == newcomer
    assert user_of(ann) != first
    assert "something of my own" not in ann.locator("body").inner_text()
    assert ann.locator(".reason.is-history").count() == 0
    back = listed_after(ann, lambda: ann.select_option("#user", first))
    assert liked not in back
    assert len(get(site, f"/users/{first}")["recent"]) == 2
