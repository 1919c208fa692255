"""`triptych build --check`: what would happen, and every mistake that stops a build before the long work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from PIL import Image

from pipelines.building import builder as build
from pipelines.cli import main
from pipelines.config import load_config
from pipelines.workflow import check, full_run
from tfrecs.build import encoding
from tfrecs.errors import DataError
from tfrecs.schema import Manifest

USERS, EVENTS, ITEMS = 12, 10, 20

SPEC = """
name: shop
items: {file: items.csv, id: id, features: {image: {kind: image, column: picture, size: 8}}}
interactions:
  file: log.csv
  user: user
  item: item
  time: time
  labels: {like: {column: rating, at_least: 4}, rating: {column: rating, range: [1, 5]}}
  positive: {column: rating, at_least: 2}
split: {by: time, fractions: [0.8, 0.1, 0.1]}
"""


def make_shop(folder: Path) -> Path:
    """User u's n-th event is item (u + n) % 20 at the second 10^9 + 1000 n + u; ratings go round 1 to 5."""
    folder.mkdir()
    (folder / "dataset.yaml").write_text(SPEC)
    (folder / "items.csv").write_text("id,picture\n" + "".join(f"i{number},{number}.png\n" for number in range(ITEMS)))
    for number in range(ITEMS):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / f"{number}.png")
    rows = [
        f"u{user},i{(user + number) % ITEMS},{10**9 + 1000 * number + user},{(user + number) % 5 + 1},train"
        for user in range(USERS)
        for number in range(EVENTS)
    ]
    (folder / "log.csv").write_text("user,item,time,rating,fold\n" + "".join(f"{row}\n" for row in rows))
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_shop(tmp_path / "shop")


def changed(file: str, pattern: str, new: str, count: int = 0) -> Callable[[Path], None]:
    def change(shop: Path) -> None:
        text, times = re.subn(pattern, new, (shop / file).read_text(), count=count, flags=re.MULTILINE)
        assert times
        (shop / file).write_text(text)

    return change


def broken_pictures(shop: Path) -> None:
    for number in range(ITEMS):
        (shop / f"{number}.png").write_bytes(b"no picture")


def no_pictures(shop: Path) -> None:
    for number in range(ITEMS):
        (shop / f"{number}.png").unlink()


def no_value_of_a_label(shop: Path) -> None:
    changed("log.csv", ",fold$", ",fold,stars")(shop)
    changed("log.csv", ",train$", ",train,")(shop)
    changed("dataset.yaml", "rating: {column: rating", "rating: {column: stars")(shop)


def one_value_of_a_label(shop: Path) -> None:
    changed("log.csv", r",\d,train$", ",3,train")(shop)
    changed("dataset.yaml", "like: {column: rating, at_least: 4}, ", "")(shop)


FATAL = {
    "an empty validation split": (
        changed("dataset.yaml", r"\[0.8, 0.1, 0.1\]", "[0.9, 0.0, 0.1]"),
        "the valid split is empty, so nothing can be chosen while training; change `split`",
    ),
    "an empty test split": (
        changed("dataset.yaml", r"\[0.8, 0.1, 0.1\]", "[0.9, 0.1, 0.0]"),
        "the test split is empty, so nothing can be measured or exported; change `split`",
    ),
    "a column that names no test event": (
        changed("dataset.yaml", "^split: .*", "split: {by: column, column: fold}"),
        "no value of its column fold says valid",
    ),
    "no positive event": (
        changed("dataset.yaml", "at_least: 2", "at_least: 6"),
        r"no event of the train split is a positive \(rating >= 6\), so nothing can be trained; lower `positive.at_least`",
    ),
    "a label of one class": (
        changed("dataset.yaml", "at_least: 4", "at_least: 1"),
        "label like: all 96 events of the train split have rating >= 1, so nothing can be learned from it; change the label",
    ),
    "a label of the other class": (
        changed("dataset.yaml", "at_least: 4", "at_least: 9"),
        "label like: all 96 events of the train split have rating < 9",
    ),
    "a label of one value": (
        one_value_of_a_label,
        "label rating: all 96 events of the train split have rating 3",
    ),
    "a label without values": (
        no_value_of_a_label,
        "label rating: no event of the train split has a value in column stars",
    ),
    "an item table that matches no event": (
        changed("items.csv", r"^i(?=\d)", "item-"),
        r"no event names an item of the catalogue \(column item has 'i0', the items are ids such as 'item-0'\)",
    ),
    "too many events of unknown items": (
        changed("items.csv", r"^i[1-5]\b", "x"),
        # Four of the ids are double then, and 20 events name one of the five that are gone.
        r"24 of 156 rows and values rejected .* interaction with an unknown item .* mend the data or raise --max-bad",
    ),
    "no picture at all": (no_pictures, "items.csv image: all 20 rejected"),
    "a misspelt column": (changed("dataset.yaml", "column: picture", "column: pictur"), "did you mean 'picture'"),
    "a misspelt key": (changed("dataset.yaml", "interactions:", "interaction:"), "did you mean 'interactions'"),
}
"""Mistake -> how it is made, and what is said. All are in the tables."""


@pytest.mark.parametrize("case", FATAL)
def test_a_mistake_that_stops_everything_is_said_with_its_remedy_and_exit_status_2(shop: Path, case: str) -> None:
    mistake, text = FATAL[case]
    mistake(shop)
    before = sorted(shop.iterdir())
    result = CliRunner().invoke(main, ["build", "--check", "--data", str(shop)])
    assert result.exit_code == 2
    assert re.search(text, result.output), result.output
    assert sorted(shop.iterdir()) == before


@pytest.mark.parametrize("case", FATAL)
def test_a_build_stops_at_the_same_mistake_before_it_opens_a_media_file(
    shop: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake, text = FATAL[case]
    mistake(shop)
    monkeypatch.setattr(encoding, "encode_rows", lambda features, rows: pytest.fail("a media file was opened"))
    result = CliRunner().invoke(main, ["build", "--data", str(shop), "--out", str(tmp_path / "records")])
    assert result.exit_code == 2
    assert re.search(text, result.output), result.output
    assert not (tmp_path / "records").exists()


def test_pictures_that_cannot_be_decoded_are_found_in_a_sample(shop: Path) -> None:
    broken_pictures(shop)
    result = CliRunner().invoke(main, ["build", "--check", "--data", str(shop), "--set", "build.check_sample=10"])
    assert result.exit_code == 2
    assert "image: 10 of 10 sampled values cannot be encoded, first i0: " in result.output


WARNINGS = {
    "a broken picture": (
        lambda shop: (shop / "3.png").write_bytes(b"no picture"),
        "image: 1 of 20 sampled values cannot be encoded, first i3: .*; mend the files, or raise --max-bad",
    ),
    "many users of one event": (
        lambda shop: (shop / "log.csv").write_text(
            (shop / "log.csv").read_text() + "".join(f"once{n},i1,{10**9 + n},{n % 5 + 1},train\n" for n in range(20))
        ),
        "20 of 32 users have one event",
    ),
    "a user table that matches no event": (
        lambda shop: (
            (shop / "users.csv").write_text("id,age\nx1,30\n"),
            changed(
                "dataset.yaml",
                "^split",
                "users: {file: users.csv, id: id, features: {age: {kind: number, column: age}}}\nsplit",
            )(shop),
        ),
        "no user of the log is in it",
    ),
    "users who are new in the test split": (
        changed("log.csv", r"^u(\d+),(.*,100000900\d|.*,100000901\d)", r"new\1,\2"),
        "12 of 12 users of the test split have no training event",
    ),
    "items that nobody took": (
        changed("items.csv", r"\Z", "".join(f"never{n},\n" for n in range(30))),
        "31 of 50 items have no training event",
    ),
    "a feature of few items": (
        changed("items.csv", r",(?!1\.png|picture).*$", ","),
        "image: only 5.0% of the items have it",
    ),
    "times of 1982": (changed("log.csv", r",1000(\d{6}),", r",400\1,"), "are before 1990"),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_what_is_odd_is_a_warning(shop: Path, case: str) -> None:
    mistake, text = WARNINGS[case]
    mistake(shop)
    result = CliRunner().invoke(main, ["build", "--check", "--data", str(shop), "--max-bad", "0.2"])
    assert result.exit_code == 0, result.output
    assert re.search(f"^warning: .*{text}", result.output, flags=re.MULTILINE), result.output


def test_the_page_says_what_the_build_makes(shop: Path, tmp_path: Path) -> None:
    (shop / "7.png").unlink()
    job = check.CheckJob(shop, load_config(None, ["build.max_bad=0.1"]))
    result = check.check(job)
    manifest = build.run(build.BuildJob(shop, tmp_path / "records", job.config)).manifest
    assert result.errors == ()
    assert result.manifest.splits["train"].events == 96
    assert result.manifest.coverage == {"image": 19 / 20}
    without_shards = {name: split.model_copy(update={"shards": ()}) for name, split in manifest.splits.items()}
    assert result.manifest == manifest.model_copy(update={"item_shards": (), "splits": without_shards})
    written = sum(path.stat().st_size for path in (tmp_path / "records").glob("*.tfrecord"))
    assert result.record_bytes == pytest.approx(written, rel=0.25)


def test_json_is_one_line_with_the_same_facts_and_the_inferred_spec(shop: Path) -> None:
    (shop / "dataset.yaml").unlink()
    (shop / "ratings.csv").write_text((shop / "log.csv").read_text().replace("fold", "note"))
    (shop / "log.csv").unlink()
    (shop / "items.csv").write_text((shop / "items.csv").read_text().replace("picture", "image"))
    result = CliRunner().invoke(main, ["build", "--check", "--json", "--data", str(shop)])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert facts["spec"]["items"]["file"] == "items.csv"
    assert (facts["items"], facts["users"], facts["interactions"]) == (20, 12, 120)
    assert facts["splits"]["test"]["events"] == 12
    assert facts["features"][0]["coverage"] == 1.0
    # 24 of the 120 ratings are a 5, and so of any five users in a row.
    assert facts["labels"]["rating"]["train"] == {"events": 96, "mean": pytest.approx(3.0, abs=0.1)}
    assert facts["errors"] == []
    assert list(facts["estimates"]) == ["build", "train", "evaluate", "export"]


def test_a_plan_that_was_checked_is_built_as_it_is(shop: Path, tmp_path: Path) -> None:
    config = load_config(None, ())
    plan = check.check(check.CheckJob(shop, config)).plan
    build.run(build.BuildJob(shop, tmp_path / "a", config), plan)
    build.run(build.BuildJob(shop, tmp_path / "b", config))
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert first == second


def test_a_run_checks_first_and_leaves_nothing_of_a_mistake(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed("dataset.yaml", "at_least: 4", "at_least: 1")(shop)
    monkeypatch.setattr(full_run.build, "run", lambda *_: pytest.fail("built"))
    with pytest.raises(DataError, match="1 error, which would stop the build"):
        full_run.run(full_run.RunJob(shop, "shop", load_config(None, ()), tmp_path / "work", tmp_path / "models"))
    assert not (tmp_path / "work").exists()


def test_a_check_refuses_a_folder_for_records_that_holds_something_else(shop: Path) -> None:
    result = CliRunner().invoke(main, ["build", "--check", "--data", str(shop), "--out", str(shop)])
    assert (result.exit_code, "holds something else than records" in result.output) == (2, True)


def test_too_little_disk_and_memory_are_warnings(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    monkeypatch.setattr(check.os, "sysconf", lambda name: 1000)  # pages, and their bytes: a megabyte in all
    warnings = check.check(check.CheckJob(shop, load_config(None, ()), out=shop / "not" / "yet")).warnings
    assert [line.split(":")[0] for line in warnings] == ["memory"] * 4 + ["disk"]
    assert f"{shop} has 0.0 GB free" in warnings[-1]


@pytest.mark.parametrize("options", [["--json"], ["--check", "--append"], []])
def test_options_that_do_not_go_together_are_refused(shop: Path, options: list[str]) -> None:
    assert CliRunner().invoke(main, ["build", "--data", str(shop), *options]).exit_code == 2


def test_records_of_a_check_are_those_of_the_manifest(shop: Path) -> None:
    manifest = check.check(check.CheckJob(shop, load_config(None, ()))).manifest
    assert isinstance(manifest, Manifest)
    assert manifest.protocol == "global time split 80/10/10, positives with rating >= 2"
