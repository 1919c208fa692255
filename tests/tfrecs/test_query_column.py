"""The query column of an interaction table: from the cell to the Examples, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from build_command import build_arguments, run_build
from click.testing import CliRunner
from growing_folder import add
from small_folder import change_spec, digests, examples, rejected, run

from pipelines.cli import main
from tfrecs.build.typed_queries import clean_query
from tfrecs.errors import DataError
from tfrecs.reading.reader import load_catalogue, load_histories, training_rows
from tfrecs.schema import Manifest
from tfrecs.spec.dataset_yaml import infer_spec, load_spec, spec_to_yaml

SPEC = """
name: asked
items: {file: items.csv, id: item_id, title: title, features: {text: {kind: text, column: title}}}
interactions: {file: log.jsonl, user: user_id, item: item_id, time: at, query: typed}
split: {by: time, fractions: [0.6, 0.2, 0.2]}
"""
# Ten events, one a second: the first six are train, then two are valid and two test.
TYPED: list[Any] = ["  the\tquiet\u0000 one ", None, 25.0, "x" * 1200, ["a"], "", "ça", "\u0001", "loud", "quiet"]


def rows(typed: list[Any], first: int = 0) -> list[dict[str, Any]]:
    return [
        {"user_id": "ab"[at % 2], "item_id": f"i{at % 4}", "at": first + 1_513_000_000 + at, "typed": value}
        for at, value in enumerate(typed)
    ]


def write(folder: Path, several: list[dict[str, Any]]) -> None:
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in several))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset.yaml").write_text(SPEC)
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},a quiet film {n}\n" for n in range(4)))
    write(folder, rows(TYPED))
    return folder


def queries(out: Path, manifest: Manifest, split: str) -> dict[str, list[str]]:
    """User -> queries of its Example; the small splits have one of each user."""
    return {
        one["user_id"][0].decode(): [text.decode() for text in one["queries"]]
        for one in examples(out, manifest.splits[split].shards)
    }


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("  two\n\twords ", "two words"),
        ("nul\0l", "null"),
        ("\x01 \x7f", ""),
        (b"caf\xc3\xa9", "café"),
        ("half \ud83d pair", "half ? pair"),
        (7.0, "7"),
        ("a\u00a0b\u2003c", "a b c"),
    ],
)
def test_a_cell_becomes_one_line_that_a_server_would_take(cell: object, text: str) -> None:
    assert clean_query(cell) == text


@pytest.mark.parametrize("cell", [b"\xff", ["a"], {"q": 1}])
def test_a_cell_that_is_no_text_is_refused(cell: object) -> None:
    with pytest.raises(DataError):
        clean_query(cell)


def test_each_event_keeps_its_query_and_one_that_cannot_be_used_costs_no_event(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run(data, out)
    assert manifest.schema_.has_queries
    assert queries(out, manifest, "train") == {"a": ["the quiet one", "25", ""], "b": ["", "x" * 1000, ""]}
    # Everything earlier is history, its queries too; the control character alone is nothing.
    assert queries(out, manifest, "test") == {
        "a": ["the quiet one", "25", "", "ça", "loud"],
        "b": ["", "x" * 1000, "", "", "quiet"],
    }
    assert {name: (split.events, split.queries) for name, split in manifest.splits.items()} == {
        "train": (6, 3),
        "valid": (2, 1),
        "test": (2, 2),
    }
    assert manifest.rejected == {"query: cannot be used": 1}
    assert manifest.used_in_part == {"query: used in part": 1}
    assert [(one["line"], one["feature"]) for one in rejected(out)] == [(4, "query"), (5, "query")]
    assert "list where text is expected" in rejected(out)[1]["detail"]


def test_the_column_adds_its_own_key_and_records_without_it_say_nothing_of_queries(data: Path, tmp_path: Path) -> None:
    with_queries = run(data, tmp_path / "with")
    change_spec(data, ", query: typed", "")
    without = run(data, tmp_path / "without")
    for split in ("train", "valid", "test"):
        asked = examples(tmp_path / "with", with_queries.splits[split].shards)
        plain = examples(tmp_path / "without", without.splits[split].shards)
        assert [{key: value for key, value in one.items() if key != "queries"} for one in asked] == plain
        assert all("queries" in one for one in asked)
    assert "queries" not in (tmp_path / "without" / "manifest.json").read_text()
    assert Manifest.load(tmp_path / "without") == without
    assert Manifest.load(tmp_path / "with") == with_queries


def test_a_column_that_is_not_there_is_one_line(data: Path, tmp_path: Path) -> None:
    change_spec(data, "query: typed", "query: type")
    with pytest.raises(DataError, match="no column 'type'; did you mean 'typed'"):
        run(data, tmp_path / "out")


def test_windows_and_histories_carry_the_queries(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run(data, out)
    ids = load_catalogue(out, manifest).ids
    dataset = training_rows(out, manifest, ids, length=4, stride=2, permutation_seed=None)
    assert dataset.element_spec["query"].shape.as_list() == [4]
    windows = [[text.decode() for text in one["query"]] for one in dataset.as_numpy_iterator()]
    assert windows == [["the quiet one", "25", "", ""], ["", "x" * 1000, "", ""]]  # The last place is padding.
    shuffled = training_rows(out, manifest, ids, length=4, stride=2, permutation_seed=5)
    typed = {0: {"the quiet one", ""}, 2: {"25"}, 1: {""}, 3: {"x" * 1000}}  # User a took i0, i2, i0; b i1, i3, i1.
    for one in shuffled.as_numpy_iterator():
        for item, text, target in zip(one["item_index"], one["query"], one["target"], strict=True):
            assert not target or text.decode() in typed[int(item)]
    (first, _) = load_histories(out, manifest, "valid", ids)
    assert first.queries is not None
    assert first.queries.tolist() == [b"the quiet one", b"25", b"", "ça".encode()]


def test_appended_events_bring_theirs_and_know_those_that_are_there(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out)
    write(data, [*rows(TYPED), *rows(["new words", None], first=100)])
    manifest = add(data, out).manifest
    newest = examples(out, manifest.splits["test"].shards[1:])
    assert [[text.decode() for text in one["queries"]] for one in newest] == [
        ["the quiet one", "25", "", "ça", "loud", "new words"],
        ["", "x" * 1000, "", "", "quiet", ""],
    ]
    assert (manifest.splits["test"].events, manifest.splits["test"].queries) == (4, 3)
    assert manifest.rejected == {"query: cannot be used": 1}  # Not once more.
    change_spec(data, ", query: typed", "")
    with pytest.raises(DataError, match="append: text queries of the records: True; of the spec: False"):
        add(data, out)


@pytest.mark.slow
def test_a_beam_pipeline_makes_the_same_records(data: Path, tmp_path: Path) -> None:
    local = CliRunner().invoke(main, build_arguments(data, tmp_path / "local", "--max-bad", "0.1"))
    assert local.exit_code == 0, local.output
    spread = run_build(data, tmp_path / "beam", "--max-bad", "0.1", "--runner", "DirectRunner")
    assert spread.returncode == 0, spread.stderr
    assert digests(tmp_path / "beam") == digests(tmp_path / "local")
    assert queries(tmp_path / "beam", Manifest.load(tmp_path / "beam"), "valid")["a"][-1] == "ça"


def test_inspect_counts_them_and_says_where_they_are_of_no_use(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "out")
    said = CliRunner().invoke(main, ["inspect", str(tmp_path / "out")], catch_exceptions=False).output
    lines = [line.split() for line in said.splitlines()]
    assert ["split", "users", "events", "with", "query", "examples", "shards"] in lines
    assert ["train", "2", "6", "3", "2", "1"] in lines
    change_spec(data, "kind: text", "kind: categories")
    run(data, tmp_path / "bare")
    said = CliRunner().invoke(main, ["inspect", str(tmp_path / "bare")], catch_exceptions=False).output
    assert "no item feature is a text" in " ".join(said.split())


@pytest.mark.parametrize(
    ("file", "header", "found"),
    [
        ("events.csv", "user_id,item_id,timestamp,query", "query"),
        ("events.csv", "user_id,item_id,timestamp,Search Query", "Search Query"),
        ("shop.inter", "user_id:token\titem_id:token\ttimestamp:float\tquery:token_seq", "query"),
        ("shop.inter", "user_id:token\titem_id:token\ttimestamp:float\tquery:float", None),
        ("events.csv", "user_id,item_id,timestamp,query_id", None),
    ],
)
def test_the_conventional_name_is_inferred_and_printed(
    tmp_path: Path, file: str, header: str, found: str | None
) -> None:
    separator = "\t" if "\t" in header else ","
    (tmp_path / file).write_text(f"{header}\n" + separator.join(["u", "i", "1", "7"]) + "\n")
    (tmp_path / "items.csv").write_text("item_id,title\ni,A film\n")
    spec = infer_spec(tmp_path)
    assert spec.interactions.query == found
    (tmp_path / "dataset.yaml").write_text(spec_to_yaml(spec))
    assert load_spec(tmp_path, None) == spec
    assert (f"query: {found}" in spec_to_yaml(spec)) == (found is not None)
