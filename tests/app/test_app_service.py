"""The routes of the app in this process, with a toy model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from app_client import ids, opened, post
from app_parts import CATEGORIES, COUNTS, TEXTS, VECTORS, WEIGHTS, TinyModel


def test_an_anonymous_user_gets_popular_items(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        answer = client.get("/recommend", params={"k": 3})
        assert ids(answer) == ["a", "b", "d"]
        body = answer.json()
        assert body["based_on"] == ["popularity"]
        popular = [reason for reason in body["items"][0]["reasons"] if reason["kind"] == "popular"]
        assert [one["value"] for one in popular] == [COUNTS["a"]]


def test_a_like_changes_the_next_list(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model) as client:
        before = ids(client.get("/recommend", params={"user": "ann", "k": 3}))
        answer = post(client, "ann", {"kind": "like", "item": "c"})
        assert (answer.status_code, answer.json()["stored"]) == (201, 1)
        after = ids(client.get("/recommend", params={"user": "ann", "k": 3}))
        assert (before, after) == (["a", "b", "d"], ["e", "d", "b"])
        assert model.requests[-1]["history"] == ["c"]
        assert model.requests[-1]["values"] == (5.0,)


def test_two_users_never_see_each_other(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        post(client, "ann", {"kind": "like", "item": "c"}, {"kind": "query", "text": "my secret wish"})
        post(client, "bob", {"kind": "like", "item": "a"})
        bob = client.get("/users/bob").text + client.get("/recommend", params={"user": "bob"}).text
        assert "secret" not in bob
        assert "c" not in [event["item"] for event in client.get("/users/bob").json()["recent"]]
        assert ids(client.get("/recommend", params={"user": "bob", "k": 1})) == ["b"]
        assert ids(client.get("/recommend", params={"user": "ann", "k": 1})) == ["e"]
        assert "secret" not in client.get("/metrics").text
    shown = "".join(path.read_text() for path in (tmp_path / "served").iterdir())
    assert "ann" not in shown
    assert "secret" not in shown


def test_a_profile_states_what_it_is_based_on(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        assert client.get("/users/new").json()["events"] == 0
        post(
            client,
            "ann",
            {"kind": "like", "item": "c", "time": 1_700_000_010},
            {"kind": "query", "text": "quiet", "time": 1_700_000_020},
        )
        post(client, "ann", {"kind": "dislike", "item": "a", "scope": "kind", "time": 1_700_000_030})
        body = client.get("/users/ann").json()
        assert [(one["kind"], one["title"], one["text"]) for one in body["recent"]] == [
            ("dislike", "The A", None), ("query", None, "quiet"), ("like", "The C", None)
        ]  # fmt: skip
        assert (body["not_these"], body["less_of"], body["rating_words"]) == (["a"], ["a"], "Comedy")
        # P = .25 c - .5 a, of length .559: with c it has the cosine .25 / .559.
        nearest = {one["id"]: one["cosine"] for one in body["taste"]["items"]}
        assert nearest["c"] == pytest.approx(0.25 / np.hypot(0.25, 0.5), abs=1e-3)
        assert "3 events" in body["based_on"]


def test_a_deleted_user_is_gone_from_answers_and_files(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        post(client, "ann-1", {"kind": "like", "item": "c"}, {"kind": "view", "item": "d"})
        post(client, "bob", {"kind": "like", "item": "a"})
        body = client.delete("/users/ann-1").json()
        assert (body["store"], body["log"]) == (2, 1)
        assert client.get("/users/ann-1").json()["events"] == 0
        assert ids(client.get("/recommend", params={"user": "ann-1", "k": 1})) == ["a"]
        left = [path for path in tmp_path.rglob("*") if path.is_file() and b"ann-1" in path.read_bytes()]
        assert left == []
        assert client.get("/users/bob").json()["events"] == 1


def test_excluded_and_disliked_items_and_their_kind_are_left_out(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        assert "a" not in ids(client.get("/recommend", params={"without": ["a"], "k": 6}))
        post(client, "ann", {"kind": "dislike", "item": "a"})
        assert ids(client.get("/recommend", params={"user": "ann", "k": 2})) == ["b", "d"]
        assert "a" not in ids(client.get("/recommend", params={"user": "ann", "k": 6, "hide_seen": False}))
        post(client, "bob", {"kind": "dislike", "item": "a", "scope": "kind"})
        # b is at .40 - 4 * .96, d at .2 - 4 * .6, e at .05 - 4 * .28, c at .1, f at .03
        assert ids(client.get("/recommend", params={"user": "bob", "k": 6})) == ["c", "f", "e", "d", "b"]


def test_seen_items_are_hidden_unless_requested(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        post(client, "ann", {"kind": "like", "item": "c"}, {"kind": "like", "item": "e"})
        assert not {"c", "e"} & set(ids(client.get("/recommend", params={"user": "ann", "k": 6})))
        answer = client.get("/recommend", params={"user": "ann", "k": 2, "hide_seen": False})
        assert ids(answer) == ["c", "e"]
        first = answer.json()["items"][0]
        assert first["seen"]
        # Not because of itself.
        assert [one["item"] for one in first["reasons"] if one["kind"] == "history"] == ["e"]


def test_filters_by_category_and_media(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        assert ids(client.get("/recommend", params={"category": ["Comedy", "War"], "k": 6})) == ["d", "c", "e", "f"]
        assert ids(client.get("/recommend", params={"category": "War", "media": "image"})) == ["f"]
        wrong = client.get("/recommend", params={"category": "Drama"})
        assert (wrong.status_code, "'Drama'" in wrong.json()["error"]) == (422, True)
        assert client.get("/recommend", params={"media": "smell"}).status_code == 422


def test_filters_work_with_more_exclusions_than_can_be_sent(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model, max_excluded=1) as client:
        assert ids(client.get("/recommend", params={"category": "War", "k": 1})) == ["f"]
        assert [request["k"] for request in model.requests] == [2, 4, 6]


def test_turns_refine_each_other_and_chips_can_be_dropped(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        turns = ["ghost", "no comedies", "but older"]
        answer = client.get("/recommend", params={"turn": turns})
        # Before "older": a (1980) and b (1990) have a ghost and are no comedy, f is from no year: the median is 1985.
        assert ids(answer) == ["a"]
        understood = answer.json()["understood"]
        assert understood["query"] == "ghost"
        assert [(chip["key"], chip["label"], chip["turn"]) for chip in understood["chips"]] == [
            ("not:Comedy", "no Comedy", 1), ("year<list", "year before 1985", 2)
        ]  # fmt: skip
        back = client.get("/recommend", params={"turn": turns, "drop": ["year<list", "not:Comedy"], "k": 3})
        assert back.json()["understood"]["chips"] == []
        assert ids(back) == ["b", "a", "d"] or ids(back) == ["a", "b", "d"]


def test_what_is_excluded_and_unknown_is_said_back_and_never_sent_to_the_model(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model) as client:
        answer = client.get("/recommend", params={"turn": ["a ghost, no vampires"], "k": 6})
        assert answer.json()["understood"] == {
            "query": "a ghost",
            "chips": [],
            "not_understood": [{"key": "unknown:no vampires", "words": "no vampires", "turn": 0}],
        }
        assert [request["query"] for request in model.requests] == ["a ghost"]
        assert len(ids(answer)) == 6
        back = client.get("/recommend", params={"turn": ["a ghost, no vampires"], "drop": ["unknown:no vampires"]})
        assert back.json()["understood"]["not_understood"] == []
        assert model.requests[-1]["query"] == "a ghost, no vampires"
        # Of several words an item must have all to be left out: a alone has both, b has a ghost, c is quiet.
        both = client.get("/recommend", params={"turn": ["no quiet ghosts"], "k": 6})
        assert [chip["label"] for chip in both.json()["understood"]["chips"]] == ["without “quiet ghost”"]
        assert set(ids(both)) == {"b", "c", "d", "e", "f"}
        german = client.get("/recommend", params={"turn": ["ohne Horror, nach 1990"], "k": 6})
        assert [chip["label"] for chip in german.json()["understood"]["chips"]] == ["ohne Horror", "year nach 1990"]
        assert set(ids(german)) == {"c", "e"}


def test_search_uses_words_alone_and_word_reasons_match_the_text(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        body = client.get("/search", params={"turn": ["ghost no horror", "baker"], "k": 4}).json()
        assert body["items"][0]["id"] == "c"
        assert all("Horror" not in CATEGORIES[item["id"]] for item in body["items"])
        for item in body["items"]:
            for reason in item["reasons"]:
                if reason["kind"] == "word":
                    assert reason["value"] == TEXTS[item["id"]].replace("bakers", "baker").split().count(reason["name"])
        assert body["based_on"] == ["words"]
        assert client.get("/search").status_code == 422
        assert ids(client.get("/search", params={"turn": "no horror", "k": 2})) == ["c", "e"]


def test_each_reason_agrees_with_the_embeddings(tmp_path: Path) -> None:
    with opened(tmp_path, taste_weight=0.5) as client:
        post(client, "ann", {"kind": "rating", "item": "c", "value": 5})
        for item in client.get("/recommend", params={"user": "ann", "k": 5}).json()["items"]:
            cosine = float(np.dot(VECTORS[item["id"]], VECTORS["c"]))
            told = {reason["kind"]: reason for reason in item["reasons"]}
            assert ("history" in told) == (cosine >= 0.3)
            if "history" in told:
                assert told["history"]["value"] == pytest.approx(cosine, abs=2e-3)
                assert (
                    told["history"]["text"]
                    == f"Close to The C, which you rated 5 (cosine {told['history']['value']:.2f})"
                )
            assert ("taste" in told) == (cosine >= 0.3)
            assert told["modality"]["value"] == max(WEIGHTS)
            assert item["modality_weights"] == {"text": 0.75, "image": 0.25}
            assert "popular" not in told


def test_rating_words_are_sent_to_the_model_when_requested(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model) as client:
        post(client, "ann", {"kind": "like", "item": "c"})
        body = client.get("/recommend", params={"user": "ann", "rating_words": True}).json()
        assert (body["rating_words"], model.requests[-1]["query"]) == ("Comedy", "Comedy")
        client.get("/recommend", params={"user": "ann"})
        assert model.requests[-1]["query"] == ""


RULES = """
rules:
- {name: opening, action: pin, items: [f], position: 1}
- {name: laugh, action: boost, categories: [Comedy], weight: 1}
- {name: no b, action: block, items: [b]}
"""


def test_rules_are_applied_and_reported(tmp_path: Path) -> None:
    with opened(tmp_path, rules=RULES) as client:
        body = client.get("/recommend", params={"k": 4}).json()
        assert [item["id"] for item in body["items"]] == ["f", "d", "c", "e"]
        assert [item["rules"] for item in body["items"]] == [["opening"], ["laugh"], ["laugh"], ["laugh"]]
        assert body["applied_rules"] == [
            {"name": "opening", "action": "pin", "items": 1},
            {"name": "laugh", "action": "boost", "items": 3},
            {"name": "no b", "action": "block", "items": 1},
        ]
        assert "b" not in ids(client.get("/similar", params={"item": "a"}))
        assert "f" not in ids(client.get("/recommend", params={"k": 4, "category": "Horror"}))


def test_items_similar_items_and_the_picker(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        body = client.get("/similar", params={"item": "a", "k": 2}).json()
        assert [item["id"] for item in body["items"]] == ["b", "d"]
        assert body["items"][0]["reasons"][0]["value"] == pytest.approx(0.96, abs=1e-3)
        assert client.get("/similar", params={"item": "zzz"}).status_code == 404
        card = client.get("/items/a").json()
        assert (card["title"], card["numbers"], card["popularity"]) == ("The A", {"year": 1980.0}, 50)
        assert client.get("/items/zzz").status_code == 404
        picked = client.get("/picker", params={"k": 2}).json()["items"]
        assert [item["id"] for item in picked] == ["b", "c"] or [item["id"] for item in picked] == ["b", "e"]
        post(client, "ann", {"kind": "like", "item": "b"})
        assert "b" not in ids(client.get("/picker", params={"user": "ann", "k": 6}))
