"""The written report: its JSON, its files, its pictures, and what is told on the terminal."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_case import BEYOND, PICTURES, PLAIN, REPORT, text_of

from pipelines.reporting.report import headline, report_json, summary_table, write_report
from pipelines.scoring.metrics import ACCURACY_METRICS


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "plots").iterdir())


def test_layout_of_the_json() -> None:
    content = json.loads(report_json(REPORT))
    assert list(content) == [
        "dataset",
        "protocol",
        "model",
        "baselines",
        "slices",
        "ranking",
        "oracle",
        "accuracy_diversity",
        "baseline_slices",
        "missing_content",
        "modality_weights",
        "exposure",
        "hybrid",
        "exploration",
        "commands",
        "versions",
    ]
    assert set(content["model"]) == {*ACCURACY_METRICS, *BEYOND}
    assert set(content["baselines"]) == {"random", "popularity", "item_knn", "item_knn_last20"}
    assert all(set(metrics) == set(content["model"]) for metrics in content["baselines"].values())
    assert content["slices"]["cold_items"]["queries"] == 83
    assert content["ranking"]["like"]["auc"] == 0.81
    assert content["ranking"]["like"]["reliability"]["calibrated"]["observed"] == [0.1, None, 0.9]
    assert content["ranking"]["rating"] == {"rmse": 0.93, "baselines": {"bias": {"rmse": 0.95}}}
    assert content["missing_content"][1]["modalities"] == ["text"]
    assert content["oracle"]["recall@20"] == pytest.approx(0.40)
    assert content["accuracy_diversity"][2] == {
        "diversity": 1.0, "recall@20": 0.15, "ndcg@10": None, "diversity@20": 0.8, "coverage@20": 0.6
    }  # fmt: skip
    assert "curve" not in content


def test_real_data_has_no_oracle() -> None:
    assert "oracle" not in json.loads(report_json(PLAIN))
    assert "oracle" not in text_of(PLAIN, PICTURES)
    assert "oracle" not in summary_table(PLAIN)


def test_what_is_undefined_is_null_in_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    model = {"recall@20": np.float32(0.5), "ndcg@10": np.float64("nan"), "mrr": math.inf, "queries": np.int64(3)}
    text = report_json(dataclasses.replace(PLAIN, model=model))
    content = json.loads(text, parse_constant=refuse)
    assert content["model"] == {"recall@20": 0.5, "ndcg@10": None, "mrr": None, "queries": 3}


@pytest.mark.slow
def test_the_folder_holds_json_text_and_pictures_that_open(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "reports"
    write_report(folder, REPORT)
    assert pictures(folder) == [f"{name}.png" for name in PICTURES]
    for path in (folder / "plots").iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 50  # something is drawn on it
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert all(f"(plots/{name}.png)" in text for name in PICTURES)
    assert (folder / "report.json").read_text(encoding="utf-8") == report_json(REPORT)


@pytest.mark.slow
def test_equal_reports_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / name, REPORT)
    for path in sorted(tmp_path.glob("a/**/*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name


@pytest.mark.slow
def test_pictures_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    write_report(tmp_path, REPORT)
    write_report(tmp_path, PLAIN)
    assert pictures(tmp_path) == ["accuracy.png", "beyond_accuracy.png"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "slices.png" not in text
    assert "training.png" not in text
    for heading in (
        "## Slices",
        "## Missing content",
        "## Modality weights",
        "## Ranking head",
        "## Training",
        "## Again",
    ):
        assert heading not in text.splitlines()


def test_the_headline_is_one_line_with_both_comparisons() -> None:
    assert headline(REPORT) == (
        "demo: Recall@20 0.3000, 1.25 x the best baseline (item_knn_last20, 0.2400), 0.75 x the oracle (0.4000)"
    )


def test_an_unknown_or_zero_reference_gives_no_ratio() -> None:
    nothing = dataclasses.replace(PLAIN, baselines={"random": {"recall@20": 0.0}, "popularity": {"recall@20": None}})
    assert "n/a the best baseline (random, 0.0000)" in headline(nothing)
    assert headline(dataclasses.replace(PLAIN, baselines={})) == "demo: Recall@20 0.3000"


def test_the_summary_has_a_line_for_every_system() -> None:
    text = summary_table(REPORT)
    body = [line.split() for line in text.splitlines()]
    rows = {words[0]: words[1:] for words in body if len(words) == 5}
    assert list(rows) == ["model", "random", "popularity", "item_knn", "item_knn_last20", "oracle"]
    assert rows["model"][0] == "0.3000"
    assert rows["model"][3] == "0.4100"
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text  # no colour codes


def test_a_curve_with_holes_and_foreign_lines_is_drawn(tmp_path: Path) -> None:
    curve = [{"event": "start"}, {"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": None, "valid_recall@20": 0.1}]
    write_report(tmp_path, dataclasses.replace(PLAIN, curve=curve))
    assert "training.png" in pictures(tmp_path)
