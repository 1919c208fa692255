"""Requests that are too large, or whose strings are not text, are refused with the name of the input."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from curl import curl
from toy_models import describe_as_ours, export_scale, export_shop, place
from toy_server import Stubs, connected, floats, refused, running

from serving.server.limits import RequestLimits
from serving.server.server import RestOptions, Server

LIMITS = RequestLimits(max_rows=3, max_length=4, max_k=5, max_results=10, max_string_bytes=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Model "shop" is a Triptych export by its description, model "scale" is someone else's."""
    saved, folder = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("models")
    place(export_scale(saved / "doubling", 2.0), folder / "scale", 1)
    place(describe_as_ours(export_shop(saved / "shop")), folder / "shop", 1)
    with running(folder, rest=RestOptions(0, 30.0, None), limits=LIMITS) as server:
        yield server


@pytest.fixture
def stubs(server: Server) -> Iterator[Stubs]:
    with connected(server) as stubs:
        yield stubs


def search(query: list[bytes], k: int = 1) -> dict[str, Any]:
    return {"name": "shop", "signature": "search", "query": query, "k": np.full(len(query), k, np.int32)}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (search([b"a"] * 4), 'input "query" has 4 rows; this server takes at most 3'),
        (search([b"a"], 6), 'input "k" is 6; this server takes at most 5'),
        (search([b"a"] * 3, 4), 'input "k" is 4 for 3 rows; this server answers at most 10 results'),
        (search([b"a"] * 3) | {"k": np.array([1, 6, 1], np.int32)}, 'input "k" is 6; this server takes at most 5'),
        (search([b"a"] * 3) | {"k": np.array([1, 1, 4], np.int32)}, 'input "k" is 4 for 3 rows'),
        (search([b"a", b"b" * 9]), 'input "query" has a string of 9 bytes; this server takes at most 8'),
        (search([b"a", b"\0"]), 'input "query" has a string with a NUL byte'),
        (search([b"a", b"\xff"]), 'input "query" has a string that is not UTF-8 (near string 1)'),
        # The first byte of two at the end of one string and the second at the start of the next are not one letter.
        (search([b"\xc3", b"\xa4"]), 'input "query" has a string that is not UTF-8 (near string 0)'),
        ({"name": "scale", "x": floats(*[[1, 2]] * 4)}, 'input "x" has 4 rows'),
    ],
)  # fmt: skip
def test_what_is_beyond_a_limit_is_an_invalid_argument_that_names_the_input(stubs, request_, message) -> None:
    code, details = refused(lambda: stubs.predict(**request_))
    assert code == "INVALID_ARGUMENT"
    assert message in details


def test_what_is_at_the_limits_is_answered(stubs) -> None:
    assert stubs.predict(**search([b"a"] * 3, 3)).outputs["ids"].tensor_shape.dim[0].size == 3
    assert stubs.predict(**search([b"12345678", "ä".encode() * 4], 5)).outputs["ids"].tensor_shape.dim[1].size == 5


def test_a_history_has_a_longest_length(stubs) -> None:
    inputs = {"candidate_ids": np.full((1, 1), b"a", object), "device": [b""]}
    code, details = refused(lambda: stubs.predict("shop", "rank", history_ids=np.full((1, 5), b"a", object), **inputs))
    assert (code, details) == (
        "INVALID_ARGUMENT",
        'input "history_ids" has 5 values a row; this server takes at most 4',
    )


def test_strings_of_other_models_may_be_any_bytes(stubs) -> None:
    answer = stubs.predict("scale", "echo", word=[b"\0\xff" * 50], shout=False)
    assert answer.outputs["word"].string_val[0] == b"\0\xff" * 50


def test_rest_has_the_same_limits(server) -> None:
    def refusal(query: Any, k: int) -> tuple[int, str]:
        body = {"signature_name": "search", "inputs": {"query": [query], "k": [k]}}
        status, text = curl(server, "/v1/models/shop:predict", data=body)
        return status, json.loads(text)["error"]

    assert refusal("a\0", 1) == (400, 'input "query" has a string with a NUL byte; it must be text')
    assert refusal("a", 6) == (400, 'input "k" is 6; this server takes at most 5')
    bytes_ = {"b64": base64.b64encode(b"\xff").decode()}
    assert refusal(bytes_, 1)[0] == 400
    assert 'input "query"' in refusal(bytes_, 1)[1]


@pytest.mark.parametrize(
    ("times", "now", "message"),
    [
        (
            [0, 1_711_015_200_000],
            1_711_015_200,
            'input "history_times" has 1711015200000 looks like milliseconds; unix',
        ),
        ([1_711_015_200, -1], 1_711_015_200, 'input "history_times" has -1 is before 1970'),
        ([0, 0], 99, 'input "now" has 99 would be in 1970 in seconds'),
        ([0, 0], 2**40, 'input "now" has 1099511627776 looks like milliseconds'),
    ],
)
def test_times_that_are_none_are_an_invalid_argument(stubs, times, now, message) -> None:
    code, details = refused(lambda: stubs.predict(**recommend(times, now)))
    assert code == "INVALID_ARGUMENT"
    assert message in details


def test_times_from_1971_to_2099_and_unknown_ones_are_answered(stubs) -> None:
    stubs.predict(**recommend([0, 1_711_015_200], 1_711_015_300))
    stubs.predict(**recommend([0, 31_536_000], 0))


def recommend(times: list[int], now: int) -> dict[str, Any]:
    empty = np.full((1, 0), b"", object)
    return {
        "name": "shop", "signature": "recommend", "history_ids": np.full((1, 2), b"a", object),
        "history_values": np.ones((1, 2), np.float32), "history_times": np.array([times], np.int64),
        "now": np.array([now], np.int64), "query": [b""], "exclude_ids": empty, "categories": empty,
        "diversity": np.zeros(1, np.float32), "k": np.ones(1, np.int32), "device": [b""], "age": np.zeros(1, np.float32),
    }  # fmt: skip
