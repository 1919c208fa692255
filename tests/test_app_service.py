"""The app's addresses, in this process, in front of a model in a few lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_parts import CATEGORIES, COUNTS, KEPT, TEXTS, VECTORS, WEIGHTS, TinyModel, options, parts, redis_server
from fastapi.testclient import TestClient

from serving.app.rules import parse_rules
from serving.app.service import create_app
from serving.app.store import open_store
from serving.tokens import Tokens


@contextmanager
def opened(folder: Path, model: TinyModel | None = None, rules: str = "", **changes: Any) -> Iterator[TestClient]:
    house = parse_rules(rules, "rules.yaml") if rules else ()
    own = {
        name: changes.pop(name) for name in ("rate", "max_body_bytes", "write_tokens", "read_tokens") if name in changes
    }
    with TestClient(create_app(parts(folder, model or TinyModel(), house, **changes), options(**own))) as client:
        yield client


def post(client: TestClient, user: str, *events: dict[str, Any]) -> Any:
    return client.post("/events", json={"user": user, "events": list(events)})


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_nobody_gets_what_most_people_take_and_is_told_so(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        answer = client.get("/recommend", params={"k": 3})
        assert ids(answer) == ["a", "b", "d"]
        body = answer.json()
        assert body["based_on"] == ["popularity"]
        popular = [reason for reason in body["items"][0]["reasons"] if reason["kind"] == "popular"]
        assert [one["value"] for one in popular] == [COUNTS["a"]]


def test_an_event_is_in_the_next_answer_and_a_like_brings_its_kind(tmp_path: Path) -> None:
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


def test_a_profile_tells_what_it_is_based_on(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        assert client.get("/users/new").json()["events"] == 0
        post(client, "ann", {"kind": "like", "item": "c", "time": 10}, {"kind": "query", "text": "quiet", "time": 20})
        post(client, "ann", {"kind": "dislike", "item": "a", "scope": "kind", "time": 30})
        body = client.get("/users/ann").json()
        assert [(one["kind"], one["title"], one["text"]) for one in body["recent"]] == [
            ("dislike", "The A", None), ("query", None, "quiet"), ("like", "The C", None)
        ]  # fmt: skip
        assert (body["not_these"], body["less_of"], body["rating_words"]) == (["a"], ["a"], "Comedy")
        # P = .25 c - .5 a, of length .559: with c it has the cosine .25 / .559.
        nearest = {one["id"]: one["cosine"] for one in body["taste"]["items"]}
        assert nearest["c"] == pytest.approx(0.25 / np.hypot(0.25, 0.5), abs=1e-3)
        assert "3 events" in body["based_on"]


def test_who_is_forgotten_is_gone_from_answers_and_files(tmp_path: Path) -> None:
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


def test_not_this_and_less_of_this_kind(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        assert "a" not in ids(client.get("/recommend", params={"without": ["a"], "k": 6}))
        post(client, "ann", {"kind": "dislike", "item": "a"})
        assert ids(client.get("/recommend", params={"user": "ann", "k": 2})) == ["b", "d"]
        assert "a" not in ids(client.get("/recommend", params={"user": "ann", "k": 6, "hide_seen": False}))
        post(client, "bob", {"kind": "dislike", "item": "a", "scope": "kind"})
        # b is at .40 - 4 * .96, d at .2 - 4 * .6, e at .05 - 4 * .28, c at .1, f at .03
        assert ids(client.get("/recommend", params={"user": "bob", "k": 6})) == ["c", "f", "e", "d", "b"]


def test_what_was_seen_is_hidden_unless_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        post(client, "ann", {"kind": "like", "item": "c"}, {"kind": "like", "item": "e"})
        assert not {"c", "e"} & set(ids(client.get("/recommend", params={"user": "ann", "k": 6})))
        answer = client.get("/recommend", params={"user": "ann", "k": 2, "hide_seen": False})
        assert ids(answer) == ["c", "e"]
        first = answer.json()["items"][0]
        assert first["seen"]
        # Not because of itself.
        assert [one["item"] for one in first["reasons"] if one["kind"] == "history"] == ["e"]


def test_filters_keep_what_they_say(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        assert ids(client.get("/recommend", params={"category": ["Comedy", "War"], "k": 6})) == ["d", "c", "e", "f"]
        assert ids(client.get("/recommend", params={"category": "War", "media": "image"})) == ["f"]
        wrong = client.get("/recommend", params={"category": "Drama"})
        assert (wrong.status_code, "'Drama'" in wrong.json()["error"]) == (422, True)
        assert client.get("/recommend", params={"media": "smell"}).status_code == 422


def test_the_same_holds_where_more_is_left_out_than_can_be_sent(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model, max_excluded=1) as client:
        assert ids(client.get("/recommend", params={"category": "War", "k": 1})) == ["f"]
        assert [request["k"] for request in model.requests] == [2, 4, 6]


def test_turns_refine_each_other_and_chips_are_said_back_and_taken_back(tmp_path: Path) -> None:
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


def test_words_alone_search_and_every_word_reason_is_in_the_text(tmp_path: Path) -> None:
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


def test_each_reason_holds_to_the_numbers(tmp_path: Path) -> None:
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


def test_verdicts_in_words_go_to_the_model_when_asked(tmp_path: Path) -> None:
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


def test_rules_are_applied_and_visible(tmp_path: Path) -> None:
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


def test_media_come_from_the_catalogue_and_from_nowhere_else(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        images = tmp_path / "data" / "images"
        (images / "a.png").write_bytes(b"0123456789")
        (tmp_path / "secret.png").write_bytes(b"secret")
        (images / "b.png").symlink_to(tmp_path / "secret.png")
        whole = client.get("/items/a/media/image")
        assert (whole.content, whole.headers["content-type"]) == (b"0123456789", "image/png")
        part = client.get("/items/a/media/image", headers={"range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        for path in ("/items/b/media/image", "/items/f/media/image", "/items/c/media/image", "/items/a/media/text",
                     "/items/../media/image", "/items/%2e%2e%2fsecret.png/media/image", "/items/zzz/media/image"):  # fmt: skip
            assert client.get(path).status_code == 404, path


MALFORMED: list[Any] = [
    None, 1, "x", [], {}, {"user": "u"}, {"user": "u", "events": []}, {"user": "", "events": [{"kind": "like", "item": "a"}]},
    {"user": "u\n", "events": [{"kind": "like", "item": "a"}]}, {"user": 5, "events": [{"kind": "like", "item": "a"}]},
    *({"user": "u", "events": [event]} for event in (
        {}, {"kind": "like"}, {"kind": "love", "item": "a"}, {"kind": "like", "item": "zzz"}, {"kind": "like", "item": 3},
        {"kind": "rating", "item": "a"}, {"kind": "rating", "item": "a", "value": 6}, {"kind": "rating", "item": "a", "value": "x"},
        {"kind": "like", "item": "a", "value": 1}, {"kind": "query"}, {"kind": "query", "text": "  "},
        {"kind": "query", "text": "x", "item": "a"}, {"kind": "query", "text": "x" * 501}, {"kind": "like", "item": "a", "time": -1},
        {"kind": "like", "item": "a", "time": 1e300}, {"kind": "like", "item": "a", "time": 4e9}, {"kind": "like", "item": "a", "id": "a b"},
        {"kind": "like", "item": "a", "scope": "kind"}, {"kind": "like", "item": "a", "list_id": "x"}, {"kind": "like", "item": "a", "more": 1},
        {"kind": "like", "item": "a", "context": {"1x": "y"}}, {"kind": "like", "item": "a", "context": {"x": [1]}},
    )),
    {"user": "u", "events": [{"kind": "like", "item": "a"}] * 101},
    {"user": "u", "events": [{"kind": "like", "item": "a"}, {"kind": "like"}]},
]  # fmt: skip


def test_what_is_malformed_is_refused_in_one_line_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        for body in MALFORMED:
            answer = client.post("/events", json=body)
            assert answer.status_code == 422, (body, answer.text)
            assert answer.json()["error"].count("\n") == 0
            assert answer.json()["problems"][0]["what"]
        raw = [b"", b"{", b"\xff\xfe", b'{"user": "u", "events": [{"kind": "query", "text": "\\ud800"}]}',
               b'{"user": "u", "events": [{"kind": "rating", "item": "a", "value": NaN}]}', b"[" * 5000]  # fmt: skip
        for content in raw:
            answer = client.post("/events", content=content, headers={"content-type": "application/json"})
            assert answer.status_code == 422, (content[:50], answer.text)
        # What a form of another site could send without being asked first.
        plain = json.dumps({"user": "u", "events": [{"kind": "like", "item": "a"}]})
        assert client.post("/events", content=plain, headers={"content-type": "text/plain"}).status_code == 422
        assert client.get("/users/u").json()["events"] == 0
        assert not list((tmp_path / "events").glob("*.jsonl"))
        for params in (
            {"k": 0},
            {"k": 51},
            {"diversity": 2},
            {"turn": ["x"] * 17},
            {"context.smell": "x"},
            {"context.age": "x"},
        ):
            assert client.get("/recommend", params=params).status_code == 422, params


def test_context_goes_to_the_model_in_its_own_types(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model) as client:
        client.get("/recommend", params={"context.device": "phone", "context.age": "33"})
        assert (model.requests[-1]["device"], model.requests[-1]["age"]) == ("phone", 33.0)


def test_a_model_server_that_is_away_is_a_503_until_it_is_back(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model) as client:
        model.away = True
        for path in ("/recommend", "/search?turn=x", "/similar?item=a"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"].startswith("model server: tiny:0: no server answers there")
        assert client.get("/health/live").status_code == 200
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["store"]) == (503, "ok")
        # Events are kept all the same, and count as soon as it is back.
        assert post(client, "ann", {"kind": "like", "item": "c"}).status_code == 201
        model.away = False
        assert client.get("/health/ready").json() == {"ready": True, "model": "ok", "store": "ok"}
        assert ids(client.get("/recommend", params={"user": "ann", "k": 1})) == ["e"]


def test_redis_that_stops_is_a_503_until_it_is_back_and_nothing_is_lost(tmp_path: Path) -> None:
    import asyncio

    with redis_server(tmp_path / "redis") as port:
        store = asyncio.run(open_store(f"redis://127.0.0.1:{port}/0", KEPT, 1.0))
        standing = parts(tmp_path, TinyModel(), store=store)
        entered = TestClient(create_app(standing, options()))
        client = entered.__enter__()
        assert post(client, "ann", {"kind": "like", "item": "c"}).status_code == 201
    try:
        for answer in (
            post(client, "ann", {"kind": "like", "item": "a"}),
            client.get("/recommend", params={"user": "ann"}),
            client.get("/users/ann"),
            client.delete("/users/ann"),
        ):
            assert answer.status_code == 503
            assert answer.json()["error"].startswith(f"redis at 127.0.0.1:{port}: the store does not answer")
        assert client.get("/health/ready").json()["model"] == "ok"
        assert client.get("/recommend").status_code == 200  # nobody has no profile to read
        with redis_server(tmp_path / "redis", port):
            assert client.get("/health/ready").status_code == 200
            assert [one["item"] for one in client.get("/users/ann").json()["recent"]] == ["c"]
            assert client.delete("/users/ann").json()["store"] == 1
            assert client.get("/users/ann").json()["events"] == 0
    finally:
        entered.__exit__(None, None, None)


def test_tokens_are_asked_for_where_there_are_some(tmp_path: Path) -> None:
    right = {"authorization": "Bearer t0k3n"}
    with opened(tmp_path, write_tokens=Tokens(("t0k3n",))) as client:
        body = {"user": "ann", "events": [{"kind": "like", "item": "a"}]}
        for headers in ({}, {"authorization": "Bearer no"}, {"authorization": "t0k3n"}):
            refused = client.post("/events", json=body, headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert client.delete("/users/ann", headers=headers).status_code == 401
        assert client.post("/events", json=body, headers=right).status_code == 201
        assert client.get("/recommend").status_code == 200
        assert client.get("/about").json()["token"]
    with opened(tmp_path / "all", write_tokens=Tokens(("t0k3n",)), read_tokens=Tokens(("t0k3n",))) as client:
        assert client.get("/users/ann").status_code == client.get("/recommend").status_code == 401
        assert client.get("/users/ann", headers=right).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_limits_of_size_and_rate(tmp_path: Path) -> None:
    with opened(tmp_path, max_body_bytes=200, rate="5/minute") as client:
        large = client.post("/events", content=b"x" * 201, headers={"content-type": "application/json"})
        assert (large.status_code, "200 bytes" in large.json()["error"]) == (413, True)
        chunked = client.post(
            "/events", content=iter([b"x" * 150, b"x" * 150]), headers={"content-type": "application/json"}
        )
        assert chunked.status_code == 413
        codes = [client.get("/about").status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        refused = client.get("/about")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/health/live").status_code == 200


def test_no_other_origin_and_no_other_host_is_let_in(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        answer = client.get("/recommend", headers={"origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.options("/events", headers={"origin": "https://evil.example"}).status_code == 405
        assert client.get("/about", headers={"host": "evil.example"}).status_code == 400


def test_metrics_and_the_schema_name_routes_and_never_users(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        post(client, "ann", {"kind": "like", "item": "a"})
        client.get("/users/ann")
        text = client.get("/metrics").text
        assert 'triptych_app_requests_total{method="GET",route="/users/{user}",status="200"} 1.0' in text.replace(
            ":path", ""
        )
        assert 'triptych_app_events_total{kind="like"} 1.0' in text
        assert "ann" not in text
        schema = client.get("/openapi.json").json()
        assert {"/recommend", "/search", "/similar", "/picker", "/events", "/about"} <= set(schema["paths"])
        assert "swagger-ui-bundle.js" in client.get("/docs").text
        assert client.get("/docs/static/swagger-ui-bundle.js").status_code == 200


def test_a_new_version_of_the_model_brings_its_catalogue(tmp_path: Path) -> None:
    import time
    from dataclasses import replace

    from app_parts import catalogue

    versions = [1]
    standing = parts(
        tmp_path, TinyModel(), newest=lambda: versions[0], load=lambda: catalogue(tmp_path / "data", versions[0])
    )
    with TestClient(create_app(standing, replace(options(), poll=0.02))) as client:
        versions[0] = 2
        deadline = time.monotonic() + 10
        while "triptych_app_model_version 2.0" not in client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ids(client.get("/recommend", params={"k": 1})) == ["a"]
