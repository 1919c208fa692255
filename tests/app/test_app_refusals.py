"""Invalid requests, limits, tokens, and unavailable servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app_client import ids, opened, post
from app_parts import RETENTION, TinyModel, options, parts, redis_server
from fastapi.testclient import TestClient

from serving.app.http.service import create_app
from serving.app.store.open import open_store
from serving.wire.tokens import Tokens


def test_media_are_served_from_the_data_folder_only(tmp_path: Path) -> None:
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
    {"user": "u\n", "events": [{"kind": "like", "item": "a"}]}, {"user": True, "events": [{"kind": "like", "item": "a"}]},
    *({"user": "u", "events": [event]} for event in (
        {}, {"kind": "like"}, {"kind": "love", "item": "a"}, {"kind": "like", "item": "zzz"}, {"kind": "like", "item": 3},
        {"kind": "rating", "item": "a"}, {"kind": "rating", "item": "a", "value": 6}, {"kind": "rating", "item": "a", "value": "x"},
        {"kind": "like", "item": "a", "value": 1}, {"kind": "query"}, {"kind": "query", "text": "  "},
        {"kind": "query", "text": "x", "item": "a"}, {"kind": "query", "text": "x" * 501}, {"kind": "like", "item": "a", "time": -1},
        {"kind": "like", "item": "a", "time": 1e300}, {"kind": "like", "item": "a", "time": 4e9}, {"kind": "like", "item": "a", "time": 17},
        {"kind": "like", "item": "a", "time": 1711015200000}, {"kind": "like", "item": True}, {"kind": "like", "item": 1.5},
        {"kind": "like", "item": "a", "id": "a b"},
        {"kind": "like", "item": "a", "scope": "kind"}, {"kind": "like", "item": "a", "list_id": "x"}, {"kind": "like", "item": "a", "more": 1},
        {"kind": "like", "item": "a", "context": {"1x": "y"}}, {"kind": "like", "item": "a", "context": {"x": [1]}},
    )),
    {"user": "u", "events": [{"kind": "like", "item": "a"}] * 101},
    {"user": "u", "events": [{"kind": "like", "item": "a"}, {"kind": "like"}]},
]  # fmt: skip


def test_a_refused_time_is_told_what_it_looks_like(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        body = {"user": "u", "events": [{"kind": "like", "item": "a", "time": 1711015200000}]}
        problem = client.post("/events", json=body).json()["problems"][0]
        assert problem["where"] == "events.0.time"
        assert "1711015200000 looks like milliseconds; unix seconds from 1971 to 2099 are expected" in problem["what"]


def test_numbers_are_ids(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        body = {"user": 5, "events": [{"kind": "like", "item": "a"}]}
        assert client.post("/events", json=body).status_code == 201
        assert client.get("/users/5").json()["events"] == 1
        unknown = client.post("/events", json={"user": 5.0, "events": [{"kind": "like", "item": 3}]})
        assert unknown.json()["problems"][0]["what"] == "the catalogue has no such item"


def test_invalid_requests_get_one_line_and_store_nothing(tmp_path: Path) -> None:
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


def test_context_is_sent_to_the_model_in_its_types(tmp_path: Path) -> None:
    model = TinyModel()
    with opened(tmp_path, model) as client:
        client.get("/recommend", params={"context.device": "phone", "context.age": "33"})
        assert (model.requests[-1]["device"], model.requests[-1]["age"]) == ("phone", 33.0)


def test_an_unavailable_model_server_is_a_503_until_it_is_back(tmp_path: Path) -> None:
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


def test_a_stopped_redis_is_a_503_until_it_is_back_and_loses_nothing(tmp_path: Path) -> None:
    import asyncio

    with redis_server(tmp_path / "redis") as port:
        store = asyncio.run(open_store(f"redis://127.0.0.1:{port}/0", RETENTION, 1.0))
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


def test_tokens_are_required_if_configured(tmp_path: Path) -> None:
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


def test_body_size_and_request_rate_are_limited(tmp_path: Path) -> None:
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


def test_other_origins_and_hosts_are_rejected(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        answer = client.get("/recommend", headers={"origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.options("/events", headers={"origin": "https://evil.example"}).status_code == 405
        assert client.get("/about", headers={"host": "evil.example"}).status_code == 400


def test_only_named_origins_may_show_the_page_in_a_frame(tmp_path: Path) -> None:
    notebook = "https://*.googleusercontent.com"
    for number, (frames, expected) in enumerate(
        [((), "'none'"), ((notebook, "https://a.example"), f"{notebook} https://a.example")]
    ):
        with opened(tmp_path / str(number), frames=frames) as client:
            for path in ("/about", "/docs"):
                assert f"; frame-ancestors {expected}" in client.get(path).headers["content-security-policy"]


def test_metrics_and_schema_contain_routes_and_no_users(tmp_path: Path) -> None:
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


def test_a_new_model_version_replaces_the_catalogue(tmp_path: Path) -> None:
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
