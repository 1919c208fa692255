"""The written report: its layout, its text and its pictures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import report_markdown as markdown
from pipelines.metrics import ACCURACY_METRICS
from pipelines.report import Report, headline, report_json, summary_table, write_report

BEYOND = ("coverage@20", "diversity@20", "novelty@20", "popularity_bias@20")


def figures(level: float) -> dict[str, float]:
    """Metrics of a system: recall@20 is `level`, recall grows with k."""
    accuracy = {name: level * int(name.partition("@")[2] or 20) ** 0.5 / 20**0.5 for name in ACCURACY_METRICS}
    return accuracy | dict(zip(BEYOND, (0.41, 0.62, 9.71, 1.31), strict=True))


CURVE = [
    {
        "epoch": epoch,
        "retrieval_loss": 6.0 / epoch,
        "valid_retrieval_loss": 6.5 / epoch,
        "learning_rate": 0.001 / epoch,
        "valid_recall@20": 0.05 * epoch,
        "valid_like_auc": 0.6,
    }
    for epoch in range(1, 6)
]
REPORT = Report(
    dataset="demo",
    protocol="Split by time, the whole catalogue ranked, seen items excluded.",
    model=figures(0.30),
    baselines={
        "random": figures(0.01),
        "popularity": figures(0.10),
        "item_knn": figures(0.20),
        "item_knn_last20": figures(0.24),
    },
    slices={
        "cold_items": figures(0.15) | {"queries": 83.0},
        "warm_items": figures(0.31) | {"queries": 917.0},
        "cold_users": dict.fromkeys(ACCURACY_METRICS, math.nan) | {"queries": 0.0},
        "without_text": figures(0.22) | {"queries": 1000.0},
        "without_image": figures(0.25) | {"queries": 1000.0},
        "without_audio": figures(0.27) | {"queries": 1000.0},
    },
    ranking={
        "like": {
            "auc": 0.81,
            "logloss": 0.44,
            "ece": 0.02,
            "uncalibrated": {"auc": 0.81, "logloss": 0.5, "ece": 0.11},
            "baselines": {"popularity": {"auc": 0.61, "logloss": 0.66, "ece": 0.03}},
            "reliability": {
                name: {"count": [3, 0, 5], "predicted": [0.2, math.nan, 0.8], "observed": [0.1, math.nan, 0.9]}
                for name in ("uncalibrated", "calibrated")
            },
            "reranking": {
                "weight": 0.5,
                **{
                    f"test_{order}_ndcg@{k}": value + k / 1000
                    for order, value in (("retrieval", 0.2), ("blend", 0.25), ("label_alone", 0.1))
                    for k in (10, 20)
                },
            },
        },
        "rating": {"rmse": 0.93, "baselines": {"bias": {"rmse": 0.95}}},
    },
    baseline_slices={"item_knn": {"cold_items": figures(0.0), "warm_items": figures(0.2)}},
    patterns=[
        {
            "content": content,
            "modalities": modalities,
            "queries": 1000,
            "recall@20": level,
            "ndcg@10": level / 2,
            "content_only_recall@20": level / 4,
            "content_only_ndcg@10": level / 8,
        }
        for content, modalities, level in (("everything", ["text", "image"], 0.3), ("text", ["text"], 0.15))
    ],
    exposure={"groups": ["tail", "head"], "systems": {"chosen": [0.3, 0.7], "model": [0.4, 0.6], "random": [0.5, 0.5]}},
    modality_weights=[
        {
            "by": "by popularity in training",
            "group": "all items",
            "items": 90,
            "weights": {"text": 0.75, "image": 0.25},
        },
        {"by": "by category", "group": "noir", "items": 9, "weights": {"text": 0.5, "image": 0.5}},
    ],
    hybrid=[
        {"parts": ["tower"], "loss": 5.2, "weights": {"tower": 1.0}, "recall@20": 0.28, "ndcg@10": 0.1},
        {
            "parts": ["tower", "borrowed", "new"],
            "loss": 5.0,
            "weights": {"tower": 0.75, "borrowed": 2.0, "new": -0.5},
            "recall@20": 0.3,
            "ndcg@10": 0.11,
        },
    ],
    oracle=figures(0.40),
    commands={"evaluate": "triptych evaluate --run runs/demo"},
    versions={"tensorflow": "2.17.1"},
    tradeoff=[
        {"diversity": 0.0, "recall@20": 0.3, "ndcg@10": 0.12, "diversity@20": 0.5, "coverage@20": 0.4},
        {"diversity": 0.5, "recall@20": 0.28, "ndcg@10": 0.11, "diversity@20": 0.62, "coverage@20": 0.47},
        {"diversity": 1.0, "recall@20": 0.15, "ndcg@10": math.nan, "diversity@20": 0.8, "coverage@20": 0.6},
    ],
    curve=CURVE,
)
PLAIN = dataclasses.replace(
    REPORT, oracle=None, slices={}, ranking={}, commands={}, versions={}, tradeoff=(), curve=(), baseline_slices={},
    patterns=(), exposure={}, modality_weights=(),
)  # fmt: skip
PICTURES = (
    "accuracy", "beyond_accuracy", "exposure", "missing_content", "modality_weights", "reliability", "slices",
    "tradeoff", "training", "warm_cold",
)  # fmt: skip


def report_markdown(report: Report, drawn: Sequence[str]) -> str:
    return markdown.report_markdown(report, drawn, "plots")


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "plots").iterdir())


def lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


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


def test_the_parts_of_the_score_are_told_in_the_order_in_which_they_were_added() -> None:
    text = report_markdown(REPORT, PICTURES)
    assert lines_with(text, "tower 0.75") == [
        "| borrowed and new | 5.0000 | 0.3000 | 0.1100 | tower 0.75, borrowed 2, new -0.5 |"
    ]
    assert text.index("| tower 1 |") < text.index("tower 0.75")


def test_real_data_has_no_oracle() -> None:
    assert "oracle" not in json.loads(report_json(PLAIN))
    assert "oracle" not in report_markdown(PLAIN, PICTURES)
    assert "oracle" not in summary_table(PLAIN)


def test_what_is_undefined_is_null_in_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    model = {"recall@20": np.float32(0.5), "ndcg@10": np.float64("nan"), "mrr": math.inf, "queries": np.int64(3)}
    text = report_json(dataclasses.replace(PLAIN, model=model))
    content = json.loads(text, parse_constant=refuse)
    assert content["model"] == {"recall@20": 0.5, "ndcg@10": None, "mrr": None, "queries": 3}


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


def test_equal_reports_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / name, REPORT)
    for path in sorted(tmp_path.glob("a/**/*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name


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


def test_the_text_names_every_baseline_and_sets_the_model_against_the_best() -> None:
    text = report_markdown(REPORT, PICTURES)
    header = lines_with(text, "| metric |")[0]
    assert header.split(" | ")[1:-2] == ["model", "random", "popularity", "item_knn", "item_knn_last20", "oracle"]
    row = [cell.strip() for cell in lines_with(text, "| recall@20 | 0.3000")[0].strip("|").split("|")]
    # .30 / .24 = 1.25 times the best baseline and .30 / .40 = .75 of the ceiling.
    assert row == ["recall@20", "0.3000", "0.0100", "0.1000", "0.2000", "0.2400", "0.4000", "1.25 x", "0.75 x"]
    # Random has the best coverage of all: a ratio there would be no verdict.
    assert " x |" not in lines_with(text, "coverage@20")[0]
    assert REPORT.protocol in text
    assert "triptych evaluate --run runs/demo" in text
    assert "tensorflow 2.17.1" in text


def test_the_slices_stand_beside_all_queries() -> None:
    text = report_markdown(REPORT, PICTURES)
    cold = [cell.strip() for cell in lines_with(text, "| cold_items |")[0].strip("|").split("|")]
    assert cold[:3] == ["cold_items", "83", "0.1500"]
    assert cold[-2:] == ["0.50 x", "0.0000"]  # .15 / .30, and what kNN finds
    nobody = [cell.strip() for cell in lines_with(text, "| cold_users |")[0].strip("|").split("|")]
    assert nobody == ["cold_users", "0", "n/a", "n/a", "n/a", "n/a", ""]


def test_the_ranking_head_has_a_cell_only_where_a_metric_applies() -> None:
    text = report_markdown(REPORT, PICTURES)
    assert "| label |  | auc | logloss | ece | rmse |" in text
    assert "| like | model | 0.8100 | 0.4400 | 0.0200 |  |" in text
    assert "| like | model before calibration | 0.8100 | 0.5000 | 0.1100 |  |" in text
    assert "| like | popularity baseline | 0.6100 | 0.6600 | 0.0300 |  |" in text
    assert "| rating | bias baseline |  |  |  | 0.9500 |" in text
    assert "| like | retrieval + weight x label | 0.5 | 0.2600 | 0.2700 |" in text
    assert "| like | label alone |  | 0.1100 | 0.1200 |" in text


def test_missing_content_and_weights_have_a_line_each() -> None:
    text = report_markdown(REPORT, PICTURES)
    assert "| text | 0.1500 | 0.0750 | 0.0375 | 0.0187 | 0.50 x |" in text
    assert "2 of the 4 subsets of the modalities" in text
    assert "| noir | 9 | 0.5000 | 0.5000 |" in text


def test_the_price_of_diversity_has_a_line_for_every_setting() -> None:
    text = report_markdown(REPORT, PICTURES)
    assert "| diversity | recall@20 | ndcg@10 | diversity@20 | coverage@20 |" in text
    assert "| 0.5 | 0.2800 | 0.1100 | 0.6200 | 0.4700 |" in text
    assert "| 1 | 0.1500 | n/a | 0.8000 | 0.6000 |" in text
    assert "Accuracy against diversity" not in report_markdown(PLAIN, PICTURES)


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
