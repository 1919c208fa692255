"""The benchmark against peers, whole, on small generated data: what it measures, keeps, skips and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from plain import make_plain_folder
from small_folder import change_spec, make_folder

from benchmarks.control import main as control
from benchmarks.quality.__main__ import main
from benchmarks.quality.comparison import markdown_table
from benchmarks.quality.heldout import load_split, metric_values, slice_queries
from benchmarks.quality.triptych_runs import same_queries
from benchmarks.quality.tuning import best_point
from benchmarks.quality.variants import Variant, build_variant, changed_spec, shuffled_rows
from pipelines.config import load_config
from pipelines.scoring import metrics
from pipelines.scoring.requests import Queries
from tfrecs.errors import SpecError

if TYPE_CHECKING:
    from whole import Whole

SMALL = ["--set", "build.kinds={image: {size: 16}}", "--set", "build.vocabulary_size=100"]


def two_requests() -> Queries:
    return Queries(
        user_ids=np.array(["a", "b"]),
        times=np.zeros(2, np.int64),
        histories=[np.array([0], np.int32), np.array([1], np.int32)],
        targets=[np.array([1, 3], np.int32), np.array([2], np.int32)],
        rows=np.arange(2),
    )


def test_slices_keep_the_targets_of_their_sort() -> None:
    warm = np.array([True, True, True, False])
    cold, rows = slice_queries(two_requests(), warm, "cold")
    assert rows.tolist() == [0]
    assert [target.tolist() for target in cold.targets] == [[3]]
    known, rows = slice_queries(two_requests(), warm, "warm")
    assert rows.tolist() == [0, 1]
    assert [target.tolist() for target in known.targets] == [[1], [2]]
    # Item 3 at the second place, of four: recall 1, and 1 / log2(3) of the ideal.
    lists = np.full((2, 50), -1, np.int32)
    lists[0, :2] = [2, 3]
    found = metric_values(lists, cold, np.array([0]), 4)
    assert found["recall@20"].tolist() == [1.0]
    assert found["ndcg@20"][0] == pytest.approx(1 / np.log2(3))


def test_the_same_requests_are_told_from_others() -> None:
    assert same_queries(two_requests(), two_requests())
    changed = two_requests()
    changed.targets[1] = np.array([3], np.int32)
    assert not same_queries(two_requests(), changed)
    assert not same_queries(two_requests(), two_requests().take([0]))


def test_the_first_of_equal_points_is_chosen() -> None:
    assert best_point([0.1, 0.3, 0.3]) == 1


def test_shuffling_deals_whole_rows_of_content_to_other_items() -> None:
    lines = [json.dumps({"id": row, "plot": f"plot {row}", "row": row, "title": f"t{row}"}) for row in range(20)]
    rows = [json.loads(line) for line in shuffled_rows(lines, {"plot", "row"}, seed=0)]
    assert [row["id"] for row in rows] == list(range(20))
    assert [row["title"] for row in rows] == [f"t{number}" for number in range(20)]
    dealt = [row["row"] for row in rows]
    assert sorted(dealt) == list(range(20)) != dealt
    assert [row["plot"] for row in rows] == [f"plot {number}" for number in dealt]


def test_a_variant_keeps_features_and_names_those_it_does_not_find(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    spec = changed_spec(Variant(data, None, ("timbre",), 0.2))
    assert list(spec.items.features) == ["timbre"]
    assert spec.effective_split.cold_items == 0.2
    with pytest.raises(SpecError, match="--features sound: the items have text, image, timbre, genres"):
        changed_spec(Variant(data, None, ("sound",)))


@pytest.mark.slow
def test_the_shuffled_control_has_the_same_events_and_other_content(tmp_path: Path) -> None:
    data, config = make_folder(tmp_path / "data"), load_config(None, SMALL[1::2])
    plain, control = (
        load_split(build_variant(Variant(data, None, ("timbre",), shuffled=shuffled), tmp_path / str(shuffled), config))
        for shuffled in (False, True)
    )
    assert same_queries(plain.queries["test"], control.queries["test"])
    np.testing.assert_array_equal(plain.training.items, control.training.items)
    before, after = (split.training.content["timbre"].toarray() for split in (plain, control))
    assert not np.allclose(before, after)
    np.testing.assert_allclose(np.sort(before[:, 0]), np.sort(after[:, 0]), rtol=1e-5)


@pytest.mark.matrix
@pytest.mark.slow
def test_the_control_compares_true_with_shuffled_content(tmp_path: Path) -> None:
    data, out = make_folder(tmp_path / "data"), tmp_path / "control.json"
    arguments = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(out), "--peers-only", *SMALL]
    ran = CliRunner().invoke(control, [*arguments, "--features", "timbre", "--cold-items", "0.3"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text())["slices"]["all"]["content_knn"]["recall@20"]
    assert found["true"] != found["shuffled"]
    assert found["difference_low"] <= found["difference"] <= found["difference_high"]


@pytest.mark.matrix
@pytest.mark.slow
def test_items_made_cold_are_a_slice_of_their_own(tmp_path: Path) -> None:
    data, out = make_plain_folder(tmp_path / "data"), tmp_path / "result.json"
    arguments = ["--data", str(data), "--work", str(tmp_path / "work"), "--out", str(out), "--peers-only"]
    ran = CliRunner().invoke(main, [*arguments, "--cold-items", "0.3", "--peers", "popularity,content_ridge,ials"])
    assert ran.exit_code == 0, ran.output
    result = json.loads(out.read_text())
    assert result["dataset"] == "plain (cold0.3)"
    assert "12 items made cold" in result["protocol"]
    cold = result["slices"]["cold"]
    assert result["slices"]["all"]["queries"] == cold["queries"] + result["slices"]["warm"]["queries"]
    assert cold["queries"] > 0
    assert set(cold["peers"]) == {"popularity", "content_ridge"}
    assert cold["peers"]["content_ridge"]["params"]["features"] in ("genre", "all")
    assert result["skipped"] == {"ials": "needs implicit: give the interpreter that has them with --peers-python"}


@pytest.mark.matrix
@pytest.mark.slow
def test_our_run_is_compared_with_tuned_peers_and_fits_are_kept(plain: Whole, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    arguments = ["--data", str(plain.data), "--work", str(tmp_path / "work"), "--out", str(out)]
    peers = ["--peers", "popularity,ease,ials", "--peers-python", sys.executable]
    ran = CliRunner().invoke(main, [*arguments, *peers, "--run", str(plain.run), "--run", str(plain.run)])
    assert ran.exit_code == 0, ran.output
    result = json.loads(out.read_text())
    part = result["slices"]["all"]
    # The report of the same run, made by `triptych evaluate`, says the same of ours and of popularity.
    report = plain.evaluation.report
    for metric in ("recall@20", "ndcg@20", "mrr"):
        assert part["ours"][metric] == pytest.approx(report.model[metric], abs=1e-5)
        assert part["peers"]["popularity"]["test"][metric] == pytest.approx(
            report.baselines["popularity"][metric], abs=1e-5
        )
    assert len(part["ours_by_seed"]["mrr"]) == 2
    against = part["peers"]["ease"]["ours_against_it"]["recall@20"]
    assert against["ratio_low"] <= against["ratio"] <= against["ratio_high"]
    assert against["ours"] - against["peer"] == pytest.approx(against["difference"], abs=2e-5)
    # Beside peers tuned for the slice stand those tuned on everything.
    warm = result["slices"]["warm"]
    row = warm["peers"]["ease"]["ours_as_exported_against_it"]["recall@20"]
    assert row["ours"] == pytest.approx(warm["ours_as_exported"]["recall@20"], abs=1e-5)
    assert row["peer"] == pytest.approx(warm["peers"]["ease"]["test_tuned_on_all"]["recall@20"], abs=1e-5)
    assert "explore" not in warm
    if "cold" in result["slices"]:
        assert len(result["slices"]["cold"]["explore"]) == 2
    assert "cannot import implicit" in result["skipped"]["ials"]
    assert "| ease |" in markdown_table(result)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("fits/*.npz")}
    assert len(kept) == 5  # popularity and four of EASE
    first = next(path for path in kept if path.name.startswith("ease"))
    first.unlink()  # as if it had been killed before
    again = CliRunner().invoke(main, [*arguments, *peers, "--peers-only"])
    assert again.exit_code == 0, again.output
    assert {path for path in kept if path.stat().st_mtime_ns != kept[path]} == {first}
    assert json.loads(out.read_text())["slices"]["all"]["peers"]["ease"]["test"] == part["peers"]["ease"]["test"]


@pytest.mark.slow
def test_a_run_on_another_split_is_refused_in_one_line(plain: Whole, tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    arguments = ["--data", str(data), "--work", str(tmp_path / "work"), "--peers", "popularity", *SMALL]
    ran = CliRunner().invoke(main, [*arguments, "--run", str(plain.run)])
    assert ran.exit_code == 2
    assert "its test requests are not those of this benchmark" in ran.output


@pytest.mark.slow
def test_a_peer_that_fails_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_plain_folder(tmp_path / "data")
    monkeypatch.setattr("benchmarks.quality.fit_cache.DEPTH", 10**9)  # lists of that length fit no memory
    arguments = ["--data", str(data), "--work", str(tmp_path / "work"), "--peers", "popularity", "--peers-only"]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 2
    log = next((tmp_path / "work").rglob("fits/*.log"))
    assert str(log) in ran.output
    assert "MemoryError" in log.read_text()


def test_an_unknown_peer_is_named(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["--data", str(make_folder(tmp_path / "data")), "--peers", "easy"])
    assert ran.exit_code == 2
    assert "--peers easy: there are popularity, item_knn" in ran.output


def test_where_events_have_no_order_a_user_is_one_request(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    change_spec(data, "  time: time\n", "")
    change_spec(data, "context: [hour, device, temperature]", "context: [device, temperature]")
    change_spec(data, "split: {by: time, fractions: [0.8, 0.1, 0.1]}", "split: {by: column, column: part}")
    rows = [line.split("\t") for line in (data / "events.tsv").read_text().splitlines()]
    parts = ["part", *(("train", "train", "train", "valid", "test")[row % 5] for row in range(len(rows) - 1))]
    (data / "events.tsv").write_text(
        "".join("\t".join([*row, part]) + "\n" for row, part in zip(rows, parts, strict=True))
    )
    split = load_split(build_variant(Variant(data, None), tmp_path / "work", load_config(None, SMALL[1::2])))
    queries = split.queries["test"]
    assert len(set(queries.user_ids.tolist())) == len(queries)
    assert max(len(target) for target in queries.targets) > 1
    lists = metrics.rank(
        lambda part: np.zeros((len(part), 30), np.float32), queries, num_items=30, depth=50, batch=4
    ).items
    found = metric_values(lists, *slice_queries(queries, split.training.warm, "all"), 30)
    assert 0 < found["recall@20"].mean() < 1
