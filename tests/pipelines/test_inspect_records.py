"""What `triptych inspect` finds odd about records, and the page it writes."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from small_folder import event_rows, item_rows, make_folder, run, write_events, write_items

from pipelines.cli import main
from tfrecs.reading import record_checks
from tfrecs.reading.features import feature_for
from tfrecs.schema import FeatureSchema

NOW = 1_700_000_000


def clustered(count: int, move: int) -> dict[str, np.ndarray]:
    """Two features that tell the same ten groups of items, the second moved by so many rows."""
    generator = np.random.default_rng(0)
    groups = generator.integers(10, size=count)
    first, second = (np.eye(10)[groups] + 0.1 * generator.normal(size=(count, 10)) for _ in range(2))
    return {"text": first, "timbre": np.roll(second, move, axis=0)}


@pytest.mark.parametrize("move", [1, -2])
def test_rows_out_of_line_are_found_with_their_distance(move: int) -> None:
    (line,) = record_checks.shifted(clustered(300, move), np.ones([300, 2], bool), 3)
    assert f"moved by {-move:+d} rows" in line


def test_rows_in_line_and_features_without_relation_are_no_finding() -> None:
    assert record_checks.shifted(clustered(300, 0), np.ones([300, 2], bool), 3) == []
    assert record_checks.shifted(clustered(300, 150), np.ones([300, 2], bool), 3) == []


def test_a_feature_with_one_value_or_a_placeholder_is_named() -> None:
    assert "all 5 items" in record_checks.one_valued("image", [b"a"] * 5)[0]
    assert "4 of 10 items" in record_checks.one_valued("image", [b"a"] * 4 + [bytes([n]) for n in range(6)])[0]
    assert record_checks.one_valued("image", [bytes([n]) for n in range(10)]) == []


def test_near_duplicates_are_alike_in_every_feature_that_both_have() -> None:
    text = np.array([[1, 0], [1, 0.01], [1, 0], [0, 1]], np.float32)
    image = np.array([[3, 0], [2, 0], [0, 1], [0, 0]], np.float32)
    presence = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], bool)
    assert record_checks.near_duplicates({"text": text, "image": image}, presence, 0.98) == [(0, 1)]
    presence[2, 1] = False  # Now item 2 has nothing but its text.
    assert record_checks.near_duplicates({"text": text, "image": image}, presence, 0.98) == [(0, 1), (0, 2), (1, 2)]


def test_items_that_share_a_genre_and_nothing_else_are_no_duplicates() -> None:
    genre = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    text = np.eye(40, dtype=np.float32)
    text[39] = text[37]
    presence = np.ones([40, 2], bool)
    presence[:30, 1] = False
    assert record_checks.near_duplicates({"genre": genre, "text": text}, presence, 0.98) == [(37, 39)]


def test_ids_counted_from_another_number_are_named() -> None:
    ids = [str(n) for n in range(20)]
    assert "look shifted by one" in record_checks.ids_off_by_one(ids, ids[1:], ["20", "20"])[0]
    assert record_checks.ids_off_by_one(ids, ids, ["20"]) == []
    assert record_checks.ids_off_by_one(ids, ids[1:], ["77"]) == []
    assert record_checks.ids_off_by_one([f"s{n}" for n in ids], [], ["20"]) == []


def test_odd_times_and_heavy_users_are_named() -> None:
    seconds = NOW - np.arange(1, 31) * 777
    assert record_checks.odd_times(seconds, NOW) == []
    assert "before 1990" in record_checks.odd_times(seconds // 1000, NOW)[0]
    assert "in the future" in record_checks.odd_times(seconds + 10**9, NOW)[0]
    assert "midnight" in record_checks.odd_times(86_400 * np.arange(10_000, 10_030), NOW)[0]
    assert "second 0" in record_checks.odd_times(np.append(seconds, 0), NOW)[0]
    assert "'b' has 3,000" in record_checks.heavy_users({"a": 10, "b": 3000}, 2000, 3010)[0]
    assert record_checks.heavy_users({"a": 10}, 2000, 10) == []


def test_sounds_of_different_pitch_differ_and_a_louder_copy_does_not() -> None:
    clip = np.sin(np.arange(16_000) * 0.05)
    feature = feature_for(FeatureSchema(name="clip", kind="audio", params={"seconds": 1.0, "rate": 16_000}))
    vectors = feature.descriptor(np.stack([clip, 0.9 * clip, np.sin(np.arange(16_000) * 1.5)]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.99 > unit[0] @ unit[2]


def test_text_of_an_item_cannot_write_into_the_page() -> None:
    feature = feature_for(FeatureSchema(name="text", kind="text"))
    shown = feature.render(np.array(b"<script>alert(1)</script> & caf\xc3\xa9", object))
    assert shown == "<p>&lt;script&gt;alert(1)&lt;/script&gt; &amp; café</p>"


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.images += [str(value) for key, value in attrs if key == "src"]


def test_inspect_tells_history_and_warnings_and_writes_the_page(tmp_path: Path) -> None:
    data, out = make_folder(tmp_path / "data"), tmp_path / "out"
    rows = item_rows()
    rows[7] |= {
        "title": rows[1]["title"],
        "genres": rows[1]["genres"],
        "image": rows[1]["image"],
        "row": rows[1]["row"],
    }
    write_items(data, rows)
    write_events(data, [[*row[:2], row[2].replace("1513000000", "400000000"), *row[3:]] for row in event_rows()])
    run(data, out)
    done = CliRunner().invoke(
        main, ["inspect", str(out), "--html", str(tmp_path / "page.html"), "--set", "inspect.shown=10"]
    )
    assert done.exit_code == 0, done.output
    said = done.output.replace("\n", " ")
    assert "build: 30 items, 12 users, events train 192, valid 24, test 24" in said
    assert "near-duplicates" in said
    assert "(1 and 7" in said
    assert "before 1990" in said
    page = _Page()
    page.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.found.count("article") == 10
    assert page.images
    assert all(source.startswith("data:image/png;base64,") for source in page.images)
    assert "фильм" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_page_of_something_else_than_records_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["inspect", str(tmp_path), "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 2
    assert "these are none" in done.output
