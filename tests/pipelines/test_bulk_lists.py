"""`triptych recommend`: lists equal those of single requests, whatever the format, shard, part, kill or machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from killed_build import run_forked

from pipelines.bulk_lists import recommender as step
from pipelines.bulk_lists.lister import ListOptions
from pipelines.bulk_lists.parts import Parts
from pipelines.bulk_lists.selection import Selection
from pipelines.cli import main
from pipelines.config import load_config
from pipelines.runs import progress
from serving.server.servable import load
from serving.wire import layout

if TYPE_CHECKING:
    import pyarrow as pa
    from whole import Whole

K = 15
NEWEST = 1_700_000_000 + 1000 * 19 + 29  # of plain.py: the last event of the last user
READERS = {".parquet": pd.read_parquet, ".jsonl": lambda path: pd.read_json(path, lines=True), ".csv": pd.read_csv}


def recommend(plain: Whole, out: Path, *more: str) -> str:
    """Runs the command on the records of `plain`, unless another source is given, and returns what it prints."""
    result = invoke(plain, out, *more)
    assert result.exit_code == 0, result.output
    return result.output


def invoke(plain: Whole, out: Path, *more: str) -> Any:
    source = () if {"--events", "--histories", "--records"} & set(more) else ("--records", str(plain.records))
    k = () if "--k" in more else ("--k", str(K))
    words = ("recommend", "--model", "plain", "--models", str(plain.models), *source, "--out", str(out), *k, *more)
    return CliRunner().invoke(main, words)


def lists(path: Path) -> dict[str, list[str]]:
    """user -> items, best first."""
    frame = pd.read_parquet(path)
    assert (frame.groupby("user_id")["rank"].transform(lambda rank: np.arange(1, len(rank) + 1)) == frame["rank"]).all()
    return {user: own["item_id"].tolist() for user, own in frame.groupby("user_id", sort=False)}


@pytest.fixture(scope="module")
def alone(plain: Whole) -> Any:
    """Asks the export for one user, with the events as they stand in the table: (items, scores, likes)."""
    servable = load(plain.models / "plain" / "1", "plain", 1)
    signature = servable.signatures["recommend"]
    events = pd.read_csv(plain.data / "events.csv").sort_values("time", kind="stable")

    def ask(user: str, k: int = K, **changes: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
        own = events[events.user == user]
        inputs = {
            "history_ids": np.array([[item.encode() for item in own.item]], object),
            "history_values": np.array([own.rating], np.float32),
            "history_times": np.array([own.time], np.int64),
            "now": np.array([NEWEST], np.int64),
            "query": np.array([b""], object),
            "exclude_ids": np.zeros([1, 0], object),
            "categories": np.zeros([1, 0], object),
            "diversity": np.zeros([1], np.float32),
            "k": np.array([k], np.int32),
            **changes,
        }
        answer = servable.run(signature, inputs, ["ids", "scores", "like"])
        there = answer["ids"][0] != b""
        items = [item.decode() for item in answer["ids"][0][there]]
        return items, answer["scores"][0][there], answer["like"][0][there]

    yield ask
    servable.close()


@pytest.fixture(scope="module")
def everyone(plain: Whole, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lists") / "lists.parquet"
    printed = recommend(plain, out)
    assert "Lists of 15 for 30 users" in printed
    assert "all their 600 events" in printed
    assert "the time is 2023-11-15 03:30 UTC (the newest event)" in printed
    assert f"{out}: 30 lists, 450 rows" in printed
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # no part is left
    return out


def test_lists_are_those_of_single_requests_through_the_export(everyone: Path, alone: Any) -> None:
    frame = pd.read_parquet(everyone)
    assert frame.columns.tolist() == ["user_id", "rank", "item_id", "score", "like"]
    assert frame.user_id.unique().tolist() == sorted(f"u{user}" for user in range(30))
    for user, own in frame.groupby("user_id"):
        items, scores, likes = alone(user)
        assert own.item_id.tolist() == items
        np.testing.assert_allclose(own.score, scores, atol=1e-5)
        np.testing.assert_allclose(own.like, likes, atol=1e-5)


def test_nobody_gets_an_item_that_they_have(plain: Whole, everyone: Path) -> None:
    events = pd.read_csv(plain.data / "events.csv")
    had = {user: set(own) for user, own in events.groupby("user")["item"]}
    assert all(not had[user] & set(items) for user, items in lists(everyone).items())


@pytest.mark.parametrize(("suffix", "read"), [*READERS.items()])
def test_every_format_reads_back_with_pandas(
    plain: Whole, everyone: Path, tmp_path: Path, suffix: str, read: Any
) -> None:
    out = tmp_path / f"lists{suffix}"
    recommend(plain, out, "--set", "recommend.part=7", "--explain")
    frame, expected = read(out), pd.read_parquet(everyone)
    assert frame.columns.tolist() == [*expected.columns, "because_id", "weight_genre"]
    for name in ("user_id", "rank", "item_id"):
        assert frame[name].tolist() == expected[name].tolist()
    np.testing.assert_allclose(frame.score, expected.score, atol=1e-6)
    assert (frame.weight_genre == 1).all()  # the only modality
    events = pd.read_csv(plain.data / "events.csv")
    assert set(zip(frame.user_id, frame.because_id, strict=True)) <= set(zip(events.user, events.item, strict=True))


def test_filters_diversity_and_exclusions_are_those_of_a_request(plain: Whole, tmp_path: Path, alone: Any) -> None:
    out = tmp_path / "lists.parquet"
    (tmp_path / "sold_out.txt").write_text("i1\ni5\n\ni6\n")
    options = (
        "--category",
        "comedy",
        "--category",
        "drama",
        "--diversity",
        "0.6",
        "--exclude",
        str(tmp_path / "sold_out.txt"),
    )
    recommend(plain, out, *options, "--k", "5")
    changes = {
        "categories": np.array([[b"comedy", b"drama"]], object),
        "diversity": np.array([0.6], np.float32),
        "exclude_ids": np.array([[b"i1", b"i5", b"i6"]], object),
    }
    for user, items in lists(out).items():
        assert items == alone(user, k=5, **changes)[0]
        assert not {"i1", "i5", "i6"} & set(items)


def test_a_log_of_events_and_a_file_of_histories_give_the_lists_of_the_records(
    plain: Whole, everyone: Path, tmp_path: Path
) -> None:
    recommend(plain, tmp_path / "log.parquet", "--events", str(plain.data))
    events = pd.read_csv(plain.data / "events.csv").sort_values("time", kind="stable")
    rows = [
        {
            "user_id": user,
            "history": own.item.tolist(),
            "history_values": own.rating.tolist(),
            "history_times": own.time.tolist(),
        }
        for user, own in events.groupby("user")
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "histories.parquet")
    recommend(plain, tmp_path / "given.parquet", "--histories", str(tmp_path / "histories.parquet"))
    expected = lists(everyone)
    assert lists(tmp_path / "log.parquet") == lists(tmp_path / "given.parquet") == expected


def test_shards_partition_the_users_and_change_no_list(plain: Whole, everyone: Path, tmp_path: Path) -> None:
    together: dict[str, list[str]] = {}
    for number in (1, 2, 3):
        recommend(plain, tmp_path / "lists.parquet", "--shard", f"{number}/3")
        own = lists(tmp_path / f"lists-{number}-of-3.parquet")
        assert own
        assert not set(own) & set(together)
        together |= own
    assert together == lists(everyone)


def test_only_events_before_a_time_count(plain: Whole, tmp_path: Path, alone: Any) -> None:
    printed = recommend(plain, tmp_path / "lists.parquet", "--until", "2023-11-14T22:13:20Z", "--k", "40")
    assert "all their 0 events" in printed  # that is the first one
    assert "30 users have no event: they get the list of a new user" in printed
    assert all(len(items) == 40 for items in lists(tmp_path / "lists.parquet").values())


def test_rate_and_time_left_are_shown_while_batches_are_made(
    plain: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_FIRST_LINE", 0.0)
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    step.run(job_of(plain, tmp_path / "lists.parquet"))
    lines = re.findall(r"  recommend: (\d+)/30, [\d.,]+ users/s, \d+ s left", capsys.readouterr().out)
    # Parts of seven users in batches of three; the first call only starts the clock.
    assert lines == ["3", "6", "7", "10", "13", "14", "17", "20", "21", "24", "27", "28", "30"]


# --- which users


def test_given_users_come_in_their_order_and_unknown_ones_are_counted(
    plain: Whole, everyone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lists.parquet"
    printed = recommend(plain, out, "--users", "u7, u3,nobody,u7")
    assert "1 users are not in" in printed
    assert "(nobody): left out; --new-users" in printed
    expected = lists(everyone)
    assert list(lists(out).items()) == [(user, expected[user]) for user in ("u7", "u3")]
    (tmp_path / "users.csv").write_text("name,user_id\nx,u3\ny,nobody\n")
    recommend(plain, out, "--users", str(tmp_path / "users.csv"), "--new-users")
    assert [*lists(out)] == ["u3", "nobody"]
    assert lists(out)["u3"] == expected["u3"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("h.csv", 'user_id,history\na,"i1,i2"\nb,\nc,"[""i3"", ""gone""]"\n'),
        (
            "h.jsonl",
            '{"user_id": "a", "history": ["i1", "i2"]}\n{"user_id": "b"}\n{"user_id": "c", "history": "i3,gone"}\n',
        ),
    ],
)
def test_histories_may_be_lists_or_text_empty_or_of_unknown_items(
    plain: Whole, tmp_path: Path, alone: Any, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    printed = recommend(plain, tmp_path / "lists.parquet", "--histories", str(tmp_path / name))
    assert "1 users have no event" in printed
    assert "1 events are of items that the export does not know" in printed
    assert "0 users have no others" in printed
    got = lists(tmp_path / "lists.parquet")
    unknown = {"now": np.zeros([1], np.int64)}
    for user, history in (("a", [b"i1", b"i2"]), ("b", []), ("c", [b"i3"])):
        events = {
            "history_ids": np.array([history], object).reshape(1, -1),
            "history_values": np.full([1, len(history)], np.nan, np.float32),
            "history_times": np.zeros([1, len(history)], np.int64),
        }
        assert got[user] == alone(user, **events, **unknown)[0]


def test_a_k_beyond_the_catalogue_gives_all_that_is_left(plain: Whole, tmp_path: Path) -> None:
    printed = recommend(plain, tmp_path / "lists.parquet", "--k", "500")
    assert "--k 500: the catalogue has 40 items" in printed
    assert "30 are shorter than 40, as no more items are left" in printed
    assert {len(items) for items in lists(tmp_path / "lists.parquet").values()} == {20}


def test_users_for_whom_nothing_is_left_are_counted(plain: Whole, tmp_path: Path) -> None:
    printed = recommend(plain, tmp_path / "lists.csv", "--exclude", ",".join(f"i{item}" for item in range(40)))
    assert "0 lists, 0 rows" in printed
    assert "30 users got none" in printed
    assert pd.read_csv(tmp_path / "lists.csv").columns.tolist() == ["user_id", "rank", "item_id", "score", "like"]


# --- killed, changed, disturbed


def killed_after(parts: int, job: step.RecommendJob) -> None:
    """Makes lists until some parts are finished, and ends in the middle of the next as a kill ends it."""
    write, done = Parts.write, []

    def counted(self: Parts, number: int, table: pa.Table) -> None:
        if len(done) == parts:
            (self.folder / "half.tmp").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, number, table)
        done.append(number)

    Parts.write = counted  # type: ignore[method-assign]
    step.run(job)


def job_of(plain: Whole, out: Path, **changes: Any) -> step.RecommendJob:
    config = load_config(None, ["recommend.part=7", "recommend.batch_size=3"])
    return step.RecommendJob(plain.models / "plain", out, config, ListOptions(K), records=plain.records, **changes)


def test_a_killed_run_goes_on_and_gives_the_same_file_in_place_of_an_older_one(
    plain: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed = tmp_path / "whole.parquet", tmp_path / "killed.parquet"
    step.run(job_of(plain, whole))
    killed.write_text("lists of yesterday")
    assert run_forked(killed_after, 3, job_of(plain, killed)) == -signal.SIGKILL
    assert killed.read_text() == "lists of yesterday"
    made = parts_made(monkeypatch)
    step.run(job_of(plain, killed))
    assert made == [3, 4]  # 30 users are five parts of at most seven
    assert "3 of 5 parts are finished already" in capsys.readouterr().out
    assert killed.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.parquet", "whole.parquet"]


def parts_made(monkeypatch: pytest.MonkeyPatch, most: int = 99) -> list[int]:
    """The numbers of the parts that are written from now on; an interrupt in place of more than `most`."""
    made: list[int] = []
    write = Parts.write

    def counted(self: Parts, number: int, table: pa.Table) -> None:
        if len(made) == most:
            raise KeyboardInterrupt
        write(self, number, table)
        made.append(number)

    monkeypatch.setattr(Parts, "write", counted)
    return made


def stop_after(parts: int, job: step.RecommendJob) -> None:
    with pytest.MonkeyPatch.context() as patch:
        parts_made(patch, parts)
        with pytest.raises(KeyboardInterrupt):
            step.run(job)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_an_interrupted_run_goes_on_in_the_other_formats_too(plain: Whole, tmp_path: Path, suffix: str) -> None:
    whole, stopped = tmp_path / f"whole{suffix}", tmp_path / f"stopped{suffix}"
    step.run(job_of(plain, whole))
    stop_after(3, job_of(plain, stopped))
    assert not stopped.exists()
    with pytest.MonkeyPatch.context() as patch:
        made = parts_made(patch)
        step.run(job_of(plain, stopped))
    assert made == [3, 4]
    assert stopped.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", [{"selection": Selection(("u1", "u2"))}, {"until": 1_700_010_000}])
def test_parts_of_another_job_are_not_gone_on_from(
    plain: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    out, alone = tmp_path / "lists.parquet", tmp_path / "alone.parquet"
    stop_after(3, job_of(plain, out))
    step.run(job_of(plain, out, **change))
    assert "begun anew" in capsys.readouterr().out
    step.run(job_of(plain, alone, **change))
    assert out.read_bytes() == alone.read_bytes()


def test_one_process_at_a_time_writes_a_file(plain: Whole, tmp_path: Path) -> None:
    out = tmp_path / "lists.parquet"
    with Parts(out, 1, step.opened(plain.models / "plain", 1).schema(False), K).open("another"):
        result = invoke(plain, out)
    assert result.exit_code == 2
    assert "another process is writing it" in result.output


@pytest.mark.skipif(find_spec("apache_beam") is None, reason="apache-beam is not installed")
@pytest.mark.matrix
def test_the_direct_runner_gives_the_same_file(plain: Whole, tmp_path: Path) -> None:
    step.run(job_of(plain, tmp_path / "local.parquet"))
    # In a process of its own: Beam's imports raise warnings of their own, which are errors in these tests.
    words = [
        "recommend",
        "--model",
        "plain",
        "--models",
        str(plain.models),
        "--records",
        str(plain.records),
        "--k",
        str(K),
    ]
    words += ["--set", "recommend.part=7", "--set", "recommend.batch_size=3", "--out", str(tmp_path / "beam.parquet")]
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", *words, "--runner", "DirectRunner"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "beam.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beam.parquet", "local.parquet"]


# --- bad input: one line with the remedy, and nothing is left


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "lists.txt"), "lists are written as .parquet, .jsonl, .csv"),
        (("--records", "nowhere"), "no manifest.json there; build the records first"),
        (("--users", "nobody,noone"), "2 users are not in .*nobody, noone.*; add --new-users"),
        (("--users", "users.csv"), "--users users.csv: no such file"),
        (("--users", ","), "--users ,: no id there"),
        (("--shard", "0/4"), "write it as i/n, from 1/n to n/n"),
        (("--shard", "5/4"), "write it as i/n, from 1/n to n/n"),
        (("--category", "horror"), "no item of the export has it; there are comedy, drama, noir"),
        (("--context", "device=phone"), "the export has no such input; there are none"),
        (("--context", "device"), "write it as NAME=VALUE"),
        (("--now", "soon"), "give unix seconds, or a time such as"),
        (("--until", "1700000000000"), "looks like milliseconds"),
        (("--model", "other"), "no exported model there; export one"),
        (("--events", "nowhere", "--records", "nowhere"), "histories come from one place"),
        (("--spec", "x.yaml"), "--spec goes with --events"),
        (("--histories", "nothing.csv"), "no file 'nothing.csv'"),
        (("--k", "0"), "0 is not in the range x>=1"),
        (("--", "--workers=2"), "options of a --runner"),
    ],
)
def test_bad_input_is_one_line(
    plain: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(plain, Path("lists.csv"), *words)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert re.search(message, result.output.strip().splitlines()[-1]), result.output
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"user_id": "a", "history": ["i1"], "history_values": [1, 2]}],
            "line 1: history_values has 2 entries for 1 items",
        ),
        ([{"user_id": "a", "history": [1.5]}], "line 1: history: 1.5 is no id"),
        ([{"user_id": "a", "history": ["i1"], "history_times": [5]}], "line 1: history_times: 5.* would be in 1970"),
        (
            [{"user_id": "a", "history": ["i1"]}, {"user_id": "a", "history": []}],
            "line 2: user_id 'a' is in line 1 too",
        ),
        ([{"history": ["i1"], "user_id": None}], "line 1: no user_id"),
        ([{"user_id": "a"}], "no column 'history'"),
        ([{"user_id": "a", "history": [], "diversity": "much"}], "line 1: diversity is no number"),
        (
            [{"user_id": "a", "history": [], "diversity": 3}],
            "refused the requests: .*diversity must be between 0 and 1",
        ),
    ],
)
def test_a_wrong_row_of_histories_is_named(
    plain: Whole, tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    file = tmp_path / "h.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = invoke(plain, tmp_path / "lists.csv", "--histories", str(file))
    assert result.exit_code == 2
    assert re.search(message, result.output.strip().splitlines()[-1]), result.output
    assert [path.name for path in tmp_path.iterdir()] == ["h.jsonl"]


def test_an_export_without_the_signature_is_refused(plain: Whole, tmp_path: Path) -> None:
    from toy_models import export_scale

    export_scale(tmp_path / "models" / "scale" / "1", 2.0)
    result = invoke(plain, tmp_path / "lists.csv", "--models", str(tmp_path / "models"), "--model", "scale")
    assert result.exit_code == 2
    assert "no signature recommend as Triptych exports it" in result.output


def test_an_export_that_does_not_list_its_items_serves_records_and_refuses_a_log(
    plain: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "item_facts", lambda version: None)  # as of older exports
    assert "30 lists" in recommend(plain, tmp_path / "lists.csv")
    result = invoke(plain, tmp_path / "log.csv", "--events", str(plain.data))
    assert result.exit_code == 2
    assert "does not list its items, which tell an event's item; export it again" in result.output
