"""A log of any length: read in parts, sorted bucket by bucket through files, it gives the records of one held in memory."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_build import run_forked
from small_folder import SCRATCH, change_spec, digests, event_rows, make_folder, rejected, run, write_events

from tfrecs.build.splits import TRAIN, split_by_time
from tfrecs.errors import DataError
from tfrecs.events.arranged import arrange
from tfrecs.events.facts import Moments
from tfrecs.events.frames import frame_of, log_of
from tfrecs.events.spool import Scratch, Spool
from tfrecs.schema import SPLITS
from tfrecs.spec.models import DatasetSpec
from tfrecs.tables import files, quoting

HEADER = "user,item,time,rating,device,temperature,query,part"


def write_log(data: Path, suffix: str = "csv") -> None:
    """Write the log with more columns, repeated pairs, times in one second, and every sort of row that is rejected."""
    rows = event_rows()
    for number, row in enumerate(rows):
        if number % 9 == 0:
            row[1] = rows[0][1]  # The same item again and again.
        row[2] = f"{int(row[2]) // 2000 * 2000}.{number % 7}"
        row += [f"what, {number % 5}" if number % 3 else "", ("train", "train", "valid", "test")[number % 4]]
    rows[40][1] = "nothing"
    rows[70][2] = "yesterday"
    rows[99][0] = ""
    rows[120][3] = "9"
    rows[150][0] += "  "
    if suffix == "csv":
        lines = [",".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in rows]
        lines.insert(60, "too,short")
        lines.insert(130, "")
        (data / "events.csv").write_text("\n".join([HEADER, *lines]), encoding="utf-8")
    else:
        frame = pd.DataFrame(rows, columns=HEADER.split(","))
        write = {"jsonl": lambda path: frame.to_json(path, orient="records", lines=True), "parquet": frame.to_parquet}
        write[suffix](data / f"events.{suffix}")
    change_spec(data, "file: events.tsv", f"file: events.{suffix}")
    change_spec(data, "  labels:", "  query: query\n  labels:")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


def without_manifest(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in digests(out).items() if name != "manifest.json"}


@pytest.mark.parametrize(
    "split",
    [
        "{by: time, fractions: [0.8, 0.1, 0.1]}",
        "{by: time, fractions: [0.6, 0.2, 0.2], cold_items: 0.2}",
        "{by: leave_last}",
        "{by: column, column: part}",
    ],
)
@pytest.mark.parametrize("keep", [None, "first", "last", "sum"])
def test_records_do_not_depend_on_how_many_events_the_memory_holds(
    data: Path, tmp_path: Path, split: str, keep: str | None
) -> None:
    write_log(data)
    change_spec(data, "split: {by: time, fractions: [0.8, 0.1, 0.1]}", f"split: {split}")
    if keep:
        change_spec(data, "  labels:", f"  keep: {keep}\n  labels:")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    whole = run(data, tmp_path / "whole")
    for limit in (60, 7):
        parts = run(data, tmp_path / "parts", scratch=Scratch(scratch, limit))
        assert without_manifest(tmp_path / "parts") == without_manifest(tmp_path / "whole")
        rounded = {"schema_": parts.schema_.model_copy(update={"value_std": whole.schema_.value_std})}
        context = tuple(
            one.model_copy(update={"std": other.std, "mean": other.mean})
            for one, other in zip(parts.schema_.context, whole.schema_.context, strict=True)
        )
        rounded["schema_"] = rounded["schema_"].model_copy(update={"context": context})
        assert parts.model_copy(update=rounded) == whole
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("items", [True, False])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_records_do_not_depend_on_the_parts_in_which_a_table_is_read(
    data: Path, tmp_path: Path, suffix: str, items: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(data, suffix)
    if not items:
        text = (data / "dataset.yaml").read_text()
        start, end = text.index("items:"), text.index("interactions:")
        (data / "dataset.yaml").write_text(text[:start] + text[end:])
    run(data, tmp_path / "whole")
    monkeypatch.setattr(files, "BLOCK", 200)
    monkeypatch.setattr(files, "ROWS", 16)
    monkeypatch.setattr(quoting, "PIECE", 100)
    run(data, tmp_path / "parts")
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")
    assert len(rejected(tmp_path / "parts")) == 4 + (suffix == "csv") - (not items)


def test_a_column_is_of_categories_if_the_last_of_its_values_is_no_number(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK", 200)
    monkeypatch.setattr(files, "ROWS", 16)
    rows = event_rows()
    write_events(data, rows)
    assert [context.kind for context in run(data, tmp_path / "out").schema_.context] == [
        "categories",
        "categories",
        "number",
    ]
    rows[-1][5] = "warm"
    write_events(data, rows)
    temperature = run(data, tmp_path / "out").schema_.context[2]
    assert (temperature.kind, "7.5" in temperature.vocabulary) == ("categories", True)


SPEC = DatasetSpec.model_validate(
    {"name": "t", "interactions": {"file": "t.csv", "user": "user", "item": "item", "time": "time"}}
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 20)), min_size=5, max_size=40),
    st.integers(1, 50),
    st.sampled_from([1, 3000]),
)
def test_arranged_events_are_those_of_a_sort_in_memory(rows: list[Any], limit: int, spread: int) -> None:
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    frame["time"] *= spread
    frame["user"], frame["item"] = [f"u{user}" for user in frame["user"]], [f"i{item}" for item in frame["item"]]
    frame["split"] = split_by_time(frame["time"].to_numpy(), (0.8, 0.1, 0.1))
    if not (frame["split"] == TRAIN).any():
        return
    items = [f"i{item}" for item in range(10)]
    scratch = Scratch(SCRATCH.folder, limit)
    events = arrange(log_of(frame.drop(columns="split"), items, scratch), SPEC, scratch, seed=0, window=4, overlap=1)
    columns = ["user", "item", "time", "split"]
    found = frame_of(events.buckets(), events.user_ids, items, {})[columns]
    expected = frame.sort_values(["user", "time"], kind="stable")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert [events.facts.splits[name].events for name in SPLITS] == [
        int((frame["split"] == code).sum()) for code in range(3)
    ]
    assert events.facts.events_of_user.tolist() == frame.groupby("user").size().tolist()


@given(st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=9), max_size=6))
def test_mean_and_deviation_of_parts_are_those_of_the_whole(parts: list[list[float]]) -> None:
    moments = Moments()
    for part in parts:
        moments.add(np.array(part, np.float64))
    known = np.array([value for part in parts for value in part if value == value])
    if not len(known):
        assert moments.scale() == (0.0, 1.0)
        return
    std = known.std()
    assert moments.scale()[0] == pytest.approx(known.mean(), abs=1e-9)
    assert moments.variance == pytest.approx(std**2, rel=1e-6, abs=1e-6)
    assert (moments.count, moments.low, moments.high) == (len(known), known.min(), known.max())


def test_a_spool_gives_its_batches_back_from_a_file_without_a_name(tmp_path: Path) -> None:
    spool = Spool(Scratch(tmp_path, 3))
    batches = [
        {"a": np.arange(n), "flag": np.arange(n) > 0, "query": np.array(["", "x, é"][:n], object)} for n in (2, 1, 2)
    ]
    for batch in batches:
        spool.append(batch)
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):  # As often as one likes.
        for written, found in zip(batches, spool, strict=True):
            assert {name: values.tolist() for name, values in found.items()} == {
                name: values.tolist() for name, values in written.items()
            }
    spool.close()


def build_without_room(data: Path, out: Path, scratch: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(DataError, match=r"scratch: no room for the events of a log .*--set build\.scratch=FOLDER$"):
        run(data, out, scratch=Scratch(scratch, 20))


def test_a_full_disk_is_one_line_with_the_remedy_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    assert run_forked(build_without_room, data, tmp_path / "out", tmp_path / "scratch") == 0
    assert sorted(path.name for path in tmp_path.rglob("*") if data not in path.parents) == ["data", "scratch"]
