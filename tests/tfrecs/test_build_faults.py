"""Bad input: an entry in rejected.jsonl or one line, and never a half-written folder."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_folder import (
    EVENTS,
    ITEMS,
    OPTIONS,
    USERS,
    change_spec,
    corrupt_events,
    digests,
    event_rows,
    examples,
    item_rows,
    make_folder,
    rejected,
    run,
    write_events,
    write_items,
)

from pipelines.building.builder import summary
from tfrecs.errors import DataError, SpecError, TooManyRejectsError, TriptychError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (0, "", "interaction without a user id"),
        (1, "", "interaction without an item id"),
        (1, "no such item", "interaction with an unknown item"),
        (2, "NaN", "time is neither unix seconds nor ISO-8601"),
        (2, "", "time is neither unix seconds nor ISO-8601"),
        (2, "yesterday", "time is neither unix seconds nor ISO-8601"),
        (2, "1500000000000", "time is not from 1971 to 2099"),
        (2, "-5", "time is not from 1971 to 2099"),
        (3, "good", "event value is not a number"),
        (3, "6", "label rating is outside its range"),
        (3, "4\t4\t4", "malformed line"),
    ],
)
def test_a_bad_interaction_is_rejected_by_line_and_reason(
    data: Path, tmp_path: Path, column: int, value: str, reason: str
) -> None:
    corrupt_events(data, 9, column, value)
    manifest = run(data, tmp_path / "out")
    assert manifest.rejected == {reason: 1}
    assert manifest.interactions == USERS * EVENTS - 1
    only = rejected(tmp_path / "out")[0]
    assert (only["file"], only["line"], only["reason"]) == ("events.tsv", 11, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": "images/none.png"}, "image: no such file"),
        ({"image": "../outside.png"}, "image: path leads out of the data folder"),
        ({"image": "/outside.png"}, "image: path leads out of the data folder"),
        ({"image": "broken.png"}, "image: cannot be encoded"),
        ({"image": "empty.png"}, "image: cannot be encoded"),
        ({"image": "images"}, "image: no such file"),
        ({"row": ITEMS}, "timbre: no such row"),
        ({"row": -1}, "timbre: no such row"),
        ({"row": "x"}, "timbre: no such row"),
    ],
)
def test_a_bad_feature_is_rejected_and_the_item_kept(
    data: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    shutil.copy(data / "images" / "1.png", data.parent / "outside.png")
    (data / "broken.png").write_bytes((data / "images" / "1.png").read_bytes()[:40])
    (data / "empty.png").write_bytes(b"")
    rows = item_rows()
    rows[3] |= change
    write_items(data, rows)
    manifest = run(data, tmp_path / "out")
    assert manifest.rejected == {reason: 1}
    assert manifest.items == ITEMS
    feature = reason.split(":")[0]
    assert manifest.coverage[feature] == pytest.approx((24 if feature == "image" else ITEMS) / ITEMS - 1 / ITEMS)
    only = rejected(tmp_path / "out")[0]
    assert (only["file"], only["line"], only["id"], only["feature"]) == ("items.jsonl", 4, "3", feature)
    assert only["detail"]


def test_a_clip_cut_short_is_used_and_said_so_but_is_no_failure(data: Path, tmp_path: Path) -> None:
    with wave.open(str(data / "tone.wav"), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(8000)
        clip.writeframes(np.round(9000 * np.sin(np.arange(8000) / 5)).astype("<i2").tobytes())
    (data / "half.wav").write_bytes((data / "tone.wav").read_bytes()[:8000])
    write_items(data, [{**row, "clip": ("tone.wav", "half.wav")[at % 2]} for at, row in enumerate(item_rows()[:2])])
    write_events(data, [[*row[:1], "1", *row[2:]] for row in event_rows()])
    change_spec(data, "  features:\n    text:", "  features:\n    clip: {kind: audio, column: clip}\n    text:")
    manifest = run(
        data, tmp_path / "out", max_bad=0.0, kind_options={**OPTIONS, "audio": {"seconds": 1.0, "rate": 8000}}
    )
    assert manifest.coverage["clip"] == 1.0
    assert (manifest.rejected, manifest.used_in_part) == ({}, {"clip: used in part": 1})
    told = summary(manifest, tmp_path / "out")
    assert "Used as far as they go: 1 clip: used in part" in told
    assert "Rejected" not in told
    only = rejected(tmp_path / "out")[0]
    assert (only["line"], only["id"], only["kept"]) == (2, "1", True)
    assert only["detail"].startswith("half.wav")


def test_what_is_read_in_another_way_than_it_stands_is_in_the_manifest_and_in_the_summary(
    data: Path, tmp_path: Path
) -> None:
    assert "notes" not in json.loads(run(data, tmp_path / "out").to_json())
    rows = event_rows()
    rows[3][4], rows[20][4] = '"phone', 'tv"'
    write_events(data, rows)
    manifest = run(data, tmp_path / "out")
    assert (manifest.interactions, manifest.rejected) == (USERS * EVENTS, {})
    assert [note.split(";")[0] for note in manifest.notes] == [
        "events.tsv: quotation marks open fields that they do not close, first on line 5"
    ]
    assert manifest.notes[0] in summary(manifest, tmp_path / "out").splitlines()


def test_duplicate_and_nameless_items_are_rejected_and_the_first_kept(data: Path, tmp_path: Path) -> None:
    rows = item_rows()
    write_items(data, [*rows, {**rows[2], "title": "Second"}, {**rows[3], "item_id": None}])
    manifest = run(data, tmp_path / "out")
    assert manifest.items == ITEMS
    assert manifest.rejected == {"duplicate item id": 1, "item without an id": 1}
    assert examples(tmp_path / "out", manifest.item_shards)[2]["title"] == [b"Film 2"]
    assert rejected(tmp_path / "out")[0] == {
        "file": "items.jsonl", "line": ITEMS + 1, "id": "2", "reason": "duplicate item id",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda data: shutil.rmtree(data / "images"), TooManyRejectsError, "image"),
        (lambda data: (data / "items.jsonl").unlink(), DataError, "no file 'items.jsonl'"),
        (lambda data: (data / "users.csv").unlink(), DataError, "no file 'users.csv'"),
        (lambda data: (data / "timbre.npy").unlink(), DataError, "timbre.npy"),
        (lambda data: (data / "timbre.npy").write_bytes(b"x"), DataError, "timbre.npy: not a .npy matrix"),
        (lambda data: (data / "events.tsv").write_text(""), DataError, "events.tsv: no rows"),
        (lambda data: (data / "items.jsonl").write_text(""), DataError, "items.jsonl: no rows"),
        (
            lambda data: change_spec(data, "item: item\n", "item: itm\n"),
            DataError,
            "no column 'itm'; did you mean 'item'",
        ),
        (lambda data: change_spec(data, "column: image", "column: img"), DataError, "no column 'img'"),
        (lambda data: change_spec(data, "kind: image", "kind: photo"), SpecError, "unknown kind 'photo'"),
        (lambda data: change_spec(data, "kind: image", "kind: image, sise: 9"), SpecError, "items.features.image"),
        (lambda data: write_events(data, [[*r[:2], "x", *r[3:]] for r in event_rows()]), DataError, "no usable"),
        (lambda data: change_spec(data, "name: tiny", "name: tiny\noracle: none.npz"), DataError, "none.npz"),
    ],
)
def test_input_that_cannot_be_built_is_one_line_and_leaves_nothing(
    data: Path, tmp_path: Path, damage: Any, kind: type[TriptychError], message: str
) -> None:
    damage(data)
    out = tmp_path / "records" / "out"
    with pytest.raises(kind) as error:
        run(data, out)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    left = [path.name for path in out.parent.iterdir()] if out.parent.exists() else []
    assert left == (["out.rejected.jsonl"] if isinstance(error.value, TooManyRejectsError) else [])


def test_too_many_rejects_leave_former_records_as_they_were(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out)
    before = digests(out)
    corrupt_events(data, 9, 1, "no such item")
    with pytest.raises(TooManyRejectsError, match=r"unknown item \(item is 'no such item'\), first events.tsv line 11"):
        run(data, out, max_bad=0.0)
    assert digests(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out", "out.rejected.jsonl"]
    assert run(data, out).interactions == USERS * EVENTS - 1  # Records are replaced by records.
    assert not (tmp_path / "out.rejected.jsonl").exists()
    assert digests(out) != before


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_one_reason_that_rejects_much_is_told_with_values_line_and_what_is_right(
    data: Path, tmp_path: Path, share: float
) -> None:
    rows = event_rows()
    for row in rows[: int(share * len(rows))]:
        row[1] = "x" + row[1]
    write_events(data, rows)
    with pytest.raises(TooManyRejectsError) as error:
        run(data, tmp_path / "out")
    message = str(error.value)
    values = ", ".join(f"'{item}'" for item in dict.fromkeys(row[1] for row in rows)).split(", ")[:3]
    assert f"interaction with an unknown item (item is {', '.join(values)}), first events.tsv line 2;" in message
    assert "the catalogue's ids look like 'фильм', '1', '2';" in message
    listing = tmp_path / "out.rejected.jsonl"
    assert message.endswith(f"each one is in {listing}")
    lines = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == share * USERS * EVENTS
    assert lines[0]["line"] == 2


def test_a_folder_with_anything_else_in_it_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    (out / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="will not overwrite"):
        run(data, out)
    assert (out / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        run(data, tmp_path / "file")


def test_an_interrupted_build_leaves_former_records_and_only_a_hidden_folder(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out)
    before = digests(out)

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "items" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, out, progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.partial", "data", "out"]
    assert digests(out) == before
