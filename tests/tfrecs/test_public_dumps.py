"""Folders in the form of well-known public dumps: built as they are, or refused in one line with the remedy; nothing silently wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from public_dumps import EVENTS, ITEMS, START, USERS, amazon_2023, goodreads, hm, kaggle_movies, mind, text, yelp
from small_folder import examples
from small_folder import run as build

from tfrecs.errors import DataError, SpecError
from tfrecs.reading.stored_records import stored_events, stored_item_ids
from tfrecs.schema import Manifest
from tfrecs.spec.dataset_yaml import load_spec, spec_to_yaml
from tfrecs.spec.infer import infer_spec


def built(folder: Path, dump: Callable[[Path], None], out: Path) -> Manifest:
    folder.mkdir()
    dump(folder)
    manifest = build(folder, out, max_bad=0.0)
    assert (manifest.items, manifest.users, manifest.interactions) == (ITEMS, USERS, USERS * EVENTS)
    assert manifest.rejected == {}
    return manifest


def vocabulary(manifest: Manifest, feature: str) -> set[str]:
    return set(manifest.schema_.feature(feature).params["vocabulary"])


def test_kaggle_movies(tmp_path: Path) -> None:
    manifest = built(tmp_path / "data", kaggle_movies, tmp_path / "out")
    assert vocabulary(manifest, "genres") == {"Animation", "Comedy", "Film Noir", "Drama"}
    assert vocabulary(manifest, "belongs_to_collection") == {"A Collection"}
    assert vocabulary(manifest, "production_companies") == {"Pixar's Own"}
    (first, *_) = examples(tmp_path / "out", manifest.item_shards)
    assert first["items/text"] == [
        f'{text(0)}, "quoted", and more.\n\nA second paragraph, with commas. Film 0'.encode()
    ]
    assert {note.split(": ")[1] for note in manifest.notes} == {
        "feature genres", "feature belongs_to_collection", "feature production_companies",
    }  # fmt: skip


def test_amazon_reviews_2023(tmp_path: Path) -> None:
    manifest = built(tmp_path / "data", amazon_2023, tmp_path / "out")
    assert [feature.name for feature in manifest.schema_.items] == ["text", "features", "categories_"]
    assert vocabulary(manifest, "categories_") == {"Beauty", "Hair", "Skin"}
    events = stored_events(tmp_path / "out", manifest)
    assert events["time"].min() == START
    assert set(events["item"]) <= {
        f"B00{item:07d}" for item in range(ITEMS)
    }  # parent_asin, as in the table of products.
    second = examples(tmp_path / "out", manifest.item_shards)[1]
    assert second["items/text"] == [f"Product 1. {text(1)}, Second sentence.".encode()]


def test_h_and_m(tmp_path: Path) -> None:
    manifest = built(tmp_path / "data", hm, tmp_path / "out")
    assert stored_item_ids(tmp_path / "out", manifest)[0] == "0108775015"
    assert stored_events(tmp_path / "out", manifest)["time"].min() == START - START % 86_400
    assert [note.split(" ids ")[0] for note in manifest.notes] == ["transactions_train.csv: 80"]
    assert [feature.name for feature in manifest.schema_.users] == ["FN", "club_member_status", "age"]


def test_yelp(tmp_path: Path) -> None:
    manifest = built(tmp_path / "data", yelp, tmp_path / "out")
    assert vocabulary(manifest, "categories_") == {"Bars", "Pizza", "Food", "Doctors", "Health & Medical"}
    assert stored_events(tmp_path / "out", manifest)["time"].min() == START


def test_goodreads_needs_the_format_of_its_times_and_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    goodreads(data)
    with pytest.raises(
        DataError, match=r"date_added is 'Fri Jul 14 02:40:00 -0700 2017'.*first .* line 1.*time_format"
    ):
        build(data, tmp_path / "out")
    spec = spec_to_yaml(infer_spec(data)).replace(
        "time: date_added", "time: date_added\n  time_format: '%a %b %d %H:%M:%S %z %Y'"
    )
    (data / "dataset.yaml").write_text(spec)
    manifest = build(data, tmp_path / "out", max_bad=0.0)
    assert (manifest.items, manifest.interactions) == (ITEMS, USERS * EVENTS)
    assert vocabulary(manifest, "popular_shelves") == {"to-read", "p", "fantasy"}
    assert [feature.name for feature in manifest.schema_.items] == ["text", "popular_shelves"]
    assert stored_events(tmp_path / "out", manifest)["time"].min() == START + 7 * 3600


MIND = """
name: mind
items: {file: news.tsv, id: news_id, title: title, features: {text: {kind: text, columns: [title]}}}
interactions: {file: behaviors.tsv, user: user_id, item: news_id, time: time, time_format: '%m/%d/%Y %I:%M:%S %p'}
"""


def test_mind_has_no_header_lines_and_is_told_so(tmp_path: Path) -> None:
    mind(tmp_path)
    with pytest.raises(SpecError, match="no table named interactions"):
        infer_spec(tmp_path)
    (tmp_path / "dataset.yaml").write_text(MIND)
    with pytest.raises(DataError, match=r"news\.tsv: .*is the first line a row\? a table needs a header line"):
        build(tmp_path, tmp_path / "out")
    for name, header in (
        ("news", "news_id\tcategory\tsub\ttitle\tabstract\turl\tentities\tmore"),
        ("behaviors", "n\tuser_id\ttime\tnews_id\timpressions"),
    ):
        path = tmp_path / f"{name}.tsv"
        path.write_text(f"{header}\n{path.read_text()}")
    manifest = build(tmp_path, tmp_path / "out", max_bad=0.0)
    assert (manifest.items, manifest.interactions) == (ITEMS, USERS * EVENTS)  # Marks in titles take no rows.
    assert examples(tmp_path / "out", manifest.item_shards)[2]["title"] == [f'"The {text(2)}'.encode()]


def test_two_tables_that_may_be_the_items_are_named(tmp_path: Path) -> None:
    goodreads(tmp_path)
    (tmp_path / "goodreads_books.json.gz").rename(tmp_path / "goodreads_books_poetry.json.gz")
    (tmp_path / "goodreads_books_comics.json.gz").write_bytes(gzip.compress(json.dumps({"book_id": "1"}).encode()))
    with pytest.raises(
        SpecError, match=r"goodreads_books_comics\.json\.gz, goodreads_books_poetry\.json\.gz may each be the items"
    ):
        infer_spec(tmp_path)
    (tmp_path / "books.json").write_text('{"book_id": "1", "title": "x"}\n')
    assert load_spec(tmp_path, None).items is not None
