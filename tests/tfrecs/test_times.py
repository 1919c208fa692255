"""Times of events: every usual notation is read, the order is by the full time, and what is no time is told with a remedy."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from growing_folder import add
from small_folder import event_rows, examples, make_folder, run, write_events

from tfrecs.errors import DataError, SpecError, TooManyRejectsError
from tfrecs.schema import Manifest
from tfrecs.spec.dataset_yaml import load_spec
from tfrecs.spec.infer import infer_spec
from tfrecs.tables.delimited import STRINGS
from tfrecs.tables.times import Times, advice, read_times
from tfrecs.unix_time import TimeNotation, doubt

TEN = 1_711_015_200  # 2024-03-21 10:00:00 UTC
SECONDS = TimeNotation("s")


def read(values: list[Any], notation: TimeNotation = SECONDS, dtype: Any = STRINGS) -> Times:
    return read_times(pd.Series(values, dtype=dtype), notation)


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        ("1711015200", 0),
        ("1711015200.08", 80_000_000),
        ("1711015200.000000001", 1),
        ("1.7110152e9", 0),
        ("2024-03-21 10:00:00", 0),
        ("2024-03-21T10:00", 0),
        ("2024-03-21T10:00:00.08Z", 80_000_000),
        ("2024-03-21T10:00:00z", 0),
        ("2024-03-21 10:00:00 UTC", 0),
        ("2024-03-21 10:00:00.123456789 UTC", 123_456_789),
        ("2024-03-21 10:00:00 GMT", 0),
        ("2024-03-21 10:00:00 +0000 UTC", 0),
        ("2024-03-21T12:00:00.08+02:00", 80_000_000),
        ("2024-03-21 12:00:00+0200", 0),
        ("2024-03-21 12:00:00+02", 0),
        ("2024-03-21 08:00:00 -0200", 0),
    ],
)
def test_the_same_moment_is_read_from_each_notation(text: str, fraction: int) -> None:
    times = read([text])
    assert (times.seconds[0], times.fraction[0]) == (TEN, fraction)
    assert not times.unreadable[0]
    assert not times.implausible[0]


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("dtype", [STRINGS, "Int64", "int64", object])
def test_whole_numbers_of_any_unit_keep_every_digit(unit: Any, per_second: int, dtype: Any) -> None:
    digits = per_second - 1  # .999...
    times = read([str(TEN * per_second + digits) if dtype == STRINGS else TEN * per_second + digits],
                 TimeNotation(unit), dtype)  # fmt: skip
    assert (times.seconds[0], times.fraction[0]) == (TEN, digits * 10**9 // per_second)


def test_decimals_floats_dates_and_datetimes_of_a_table_are_read() -> None:
    values = [Decimal("1711015200.000000001"), 1711015200.08, date(2024, 3, 21), None,
              datetime(2024, 3, 21, 10, tzinfo=timezone.utc)]  # fmt: skip
    times = read(values, dtype=object)
    assert times.seconds.tolist() == [TEN, TEN, TEN - 36_000, 0, TEN]
    assert times.fraction.tolist() == [1, 80_000_000, 0, 0, 0]
    assert times.unreadable.tolist() == [False, False, False, True, False]
    assert read([1711015200.08], dtype="Float64").fraction.tolist() == [80_000_000]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_timestamps_of_parquet_are_read_in_all_units_and_zones(unit: str, zone: str | None, tmp_path: Path) -> None:
    stamps = pd.Series(
        np.array([f"2024-03-21T{'06' if zone == 'America/New_York' else '10'}:00:00.080", "NaT"], f"M8[{unit}]")
    )
    frame = pd.DataFrame({"at": stamps if zone is None else stamps.dt.tz_localize(zone)})
    frame.to_parquet(tmp_path / "t.parquet")
    times = read_times(pd.read_parquet(tmp_path / "t.parquet", dtype_backend="numpy_nullable")["at"], SECONDS)
    assert times.seconds.tolist() == [TEN, 0]
    assert times.fraction[0] == (0 if unit == "s" else 80_000_000)
    assert times.unreadable.tolist() == [False, True]


def test_each_row_is_read_or_refused_by_itself_where_notations_mix() -> None:
    column = [
        "1711015200",
        "2024-03-21 10:00:00 UTC",
        "03/21/2024 10:00",
        "1711015200000",
        "2024-03-21T10:00:00.5+00:00",
    ]
    times = read(column)
    assert times.seconds.tolist() == [TEN, TEN, 0, 0, TEN]
    assert times.fraction.tolist() == [0, 0, 0, 0, 500_000_000]
    assert times.unreadable.tolist() == [False, False, True, False, False]
    assert times.implausible.tolist() == [False, False, False, True, False]


def test_what_is_not_unicode_is_no_time() -> None:
    assert read(["\udc00", b"2024-03-21", TEN], dtype=object).unreadable.tolist() == [True, False, False]


def test_a_zone_holds_for_times_that_name_none() -> None:
    # Winter time is UTC+1, from 31 March 2024 at 01:00 UTC to 27 October 01:00 UTC it is UTC+2.
    column = ["2024-03-21 11:00:00", "2024-03-21T10:00:00Z", "1711015200", "2024-10-27 02:30:00", "2024-03-31 02:30:00"]
    berlin = read(column, TimeNotation("s", None, "Europe/Berlin")).seconds
    twice, skipped = 1_729_989_000, 1_711_846_800  # the first of two (00:30 UTC); an hour that there is not: 03:00
    assert berlin.tolist() == [TEN, TEN, TEN, twice, skipped]
    stamps = pd.Series(pd.to_datetime(["2024-03-21 11:00:00"]))
    assert read_times(stamps, TimeNotation("s", None, "Europe/Berlin")).seconds.tolist() == [TEN]


def test_a_format_is_that_of_every_row() -> None:
    berlin = TimeNotation("s", "%d/%m/%Y %H:%M", "Europe/Berlin")
    times = read(["21/03/2024 11:00", "03/21/2024 10:00", "2024-03-21 10:00", ""], berlin)
    assert times.seconds.tolist() == [TEN, 0, 0, 0]
    assert times.unreadable.tolist() == [False, True, True, True]
    with_zone = TimeNotation("s", "%d/%m/%Y %H:%M %z")
    assert read(["21/03/2024 12:00 +0200"], with_zone).seconds.tolist() == [TEN]
    together = TimeNotation("s", "%Y%m%d")
    assert read([20240321, 20240321.0, "20240321"], together, object).seconds.tolist() == [TEN - 36_000] * 3


@pytest.mark.parametrize(
    ("value", "notation", "remedy"),
    [
        ("1711015200000", SECONDS, "1711015200000 looks like milliseconds: set interactions.time_unit: ms"),
        ("1711015200000000", SECONDS, "1711015200000000 looks like microseconds: set interactions.time_unit: us"),
        (1711015200000000000, SECONDS, "1711015200000000000 looks like nanoseconds: set interactions.time_unit: ns"),
        ("1711015200", TimeNotation("ms"), "1711015200 looks like seconds: set interactions.time_unit: s"),
        ("-5", SECONDS, "-5 is before 1970"),
        ("17", SECONDS, "17 would be in 1970 in seconds; if it is a position and no time, name its column as "
         "interactions.order"),
        ("9999999999", SECONDS, "9999999999 would be after 2099 in seconds"),
        ("20240321", SECONDS, "20240321 looks like a date: set interactions.time_format: '%Y%m%d'"),
        ("20240321100000", SECONDS, "20240321100000 looks like a date: set interactions.time_format: '%Y%m%d%H%M%S'"),
        ("03/21/2024 10:00", SECONDS, "set interactions.time_format, such as '%m/%d/%Y %H:%M'"),
        ("21.03.2024", SECONDS, "set interactions.time_format, such as '%d.%m.%Y'"),
        ("3/4/2024 10:00:05", SECONDS, "set interactions.time_format, such as '%d/%m/%Y %H:%M:%S' or "
         "'%m/%d/%Y %H:%M:%S'"),
        ("yesterday", SECONDS, "set interactions.time_format, such as '%d/%m/%Y %H:%M'"),
        ("1969-12-31", SECONDS, "of ISO-8601 times from 1971 to 2099 are read, such as 2024-03-21T10:00:00Z"),
        ("2024-03-21", TimeNotation("s", "%d/%m/%Y"), "mend interactions.time_format, or the rows"),
        ("", SECONDS, None),
        ("null", SECONDS, None),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_a_remedy(value: Any, notation: TimeNotation, remedy: str | None) -> None:
    times = read([value], notation, STRINGS if isinstance(value, str) else object)
    assert times.unreadable[0] or times.implausible[0]
    assert (times.seconds[0], times.fraction[0]) == (0, 0)
    assert advice(value, notation) == remedy


def test_a_time_is_plausible_from_1971_to_2099_and_in_one_unit_at_most() -> None:
    assert [doubt(value) for value in (31_536_000, 4_102_444_799)] == [None, None]
    assert doubt(31_535_999) == "would be in 1970 in seconds"
    assert doubt(4_102_444_800) == "would be after 2099 in seconds"


def stamped(folder: Path, stamps: list[str]) -> Path:
    """The small folder, each of its first user's events in turn at one of `stamps`, items 0, 1, 2, ... in that order."""
    make_folder(folder)
    rows = [
        [f"u{user}", str(1 + number), stamp, str(1 + (user + number) % 5), "tv", ""]
        for user in range(12)
        for number, stamp in enumerate(stamps)
    ]
    shuffled = np.random.default_rng(3).permutation(len(rows))
    write_events(folder, [rows[index] for index in shuffled])
    return folder


def histories(out: Path, manifest: Manifest, split: str) -> list[list[bytes]]:
    return [list(one["item_ids"]) for one in examples(out, manifest.splits[split].shards)]


@pytest.mark.parametrize("notation", ["iso", "unix"])
def test_events_of_one_second_are_ordered_by_its_fraction_and_stored_at_whole_seconds(
    notation: str, tmp_path: Path
) -> None:
    stamps = [f"2024-03-21T10:00:00.{80 * n:03d}Z" if notation == "iso" else f"{TEN}.{80 * n:03d}" for n in range(12)]
    data = stamped(tmp_path / "data", stamps)
    spec = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(spec[: spec.index("split:")] + "split: {by: leave_last}\n")
    manifest = run(data, tmp_path / "out", window=12, overlap=11)
    for sequence in histories(tmp_path / "out", manifest, "test"):
        assert [int(item) for item in sequence] == list(range(1, 13))
    for one in examples(tmp_path / "out", manifest.splits["test"].shards):
        assert set(one["times"]) == {TEN}


def test_a_reject_names_value_file_line_and_remedy(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    rows = event_rows()
    rows[9][2] = "1711015200000"
    write_events(data, rows)
    assert run(data, tmp_path / "out").rejected == {"time is not from 1971 to 2099": 1}
    line = json.loads((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()[0])
    assert (line["file"], line["line"]) == ("events.tsv", 11)
    assert line["detail"] == "time is '1711015200000'"
    assert line["remedy"] == "1711015200000 looks like milliseconds: set interactions.time_unit: ms"


def test_a_table_of_milliseconds_says_so_and_is_read_once_the_unit_is_set(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    before = run(data, tmp_path / "seconds")
    write_events(data, [[*row[:2], f"{row[2]}000", *row[3:]] for row in event_rows()])
    with pytest.raises(
        DataError, match=r"'15130\d+000'.*first events\.tsv line 2; 15130\d+000 looks like milliseconds: set"
    ):
        run(data, tmp_path / "out")
    spec = (data / "dataset.yaml").read_text()
    (data / "dataset.yaml").write_text(spec.replace("  time: time\n", "  time: time\n  time_unit: ms\n"))
    assert run(data, tmp_path / "out") == before
    for name in [shard.name for split in before.splits.values() for shard in split.shards]:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "seconds" / name).read_bytes()


def test_an_append_refuses_other_units_and_orders_new_events_of_one_second(tmp_path: Path) -> None:
    data, out = make_folder(tmp_path / "data"), tmp_path / "out"
    run(data, out)
    late = [["u1", str(5 + n), f"1513030000.{9 - n}", "4", "tv", "1"] for n in range(3)]
    write_events(data, [*event_rows(), *late])
    manifest = add(data, out).manifest
    assert histories(out, manifest, "test")[-1][-3:] == [b"7", b"6", b"5"]
    write_events(data, [["u1", "5", "1513040000000", "4", "tv", "1"]])
    with pytest.raises(TooManyRejectsError, match=r"looks like milliseconds: set interactions\.time_unit: ms"):
        add(data, out, max_bad=0.0)
    assert "rejected (time is not from 1971 to 2099: 1)" in add(data, out, max_bad=0.2).notes[-1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("time_unit: m", "interactions.time_unit: .*'s', 'ms', 'us' or 'ns'"),
        ("time_format: '%d.%m. %Q'", "is no strptime format"),
        ("time_format: '%H:%M'", "does not give day, month and year"),
        ("time_zone: Europe/Berlinn", "no time zone 'Europe/Berlinn'; did you mean 'Europe/Berlin'"),
        ("time_format: '%d/%m/%Y', time_unit: ms", "give one of them"),
    ],
)
def test_a_wrong_notation_in_the_spec_is_named(keys: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(
        f"name: x\ninteractions: {{file: e.csv, user: u, item: i, time: t, {keys}}}\n"
    )
    with pytest.raises(SpecError, match=message):
        load_spec(tmp_path, None)


def test_a_notation_without_a_column_of_times_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("name: x\ninteractions: {file: e.csv, user: u, item: i, time_unit: ms}\n")
    with pytest.raises(SpecError, match="`time` names no column"):
        load_spec(tmp_path, None)


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (["1711015200000", "1711015200001"], "ms"),
        (["1711015200000000", ""], "us"),
        (["1711015200000000000", "x"], "ns"),
        (["1711015200", "1711015201"], "s"),
        (["1711015200000", "1711015200"], "s"),  # no one unit fits: rows are refused one by one
        (["1711015200000", "5"], "s"),
        (["2024-03-21", "2024-03-22"], "s"),
    ],
)
def test_an_inferred_spec_has_the_unit_that_fits_every_number(times: list[str], unit: str, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\ni,a\n")
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\n" + "".join(f"u,i,{time}\n" for time in times))
    assert infer_spec(tmp_path).interactions.time_unit == unit
