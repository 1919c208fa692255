"""The text of the report: every number in its line."""

from __future__ import annotations

import dataclasses
import json

from report_case import PICTURES, PLAIN, REPORT, lines_with, text_of

from pipelines.reporting.report import report_json


def test_the_parts_of_the_score_are_told_in_the_order_in_which_they_were_added() -> None:
    text = text_of(REPORT, PICTURES)
    assert lines_with(text, "tower 0.75") == [
        "| borrowed and new | 5.0000 | 0.3000 | 0.1100 | tower 0.75, borrowed 2, new -0.5 |"
    ]
    assert text.index("| tower 1 |") < text.index("tower 0.75")


def test_the_text_names_every_baseline_and_sets_the_model_against_the_best() -> None:
    text = text_of(REPORT, PICTURES)
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


def test_intervals_stand_behind_their_figures_and_the_difference_names_both_ends() -> None:
    intervals = {
        "systems": {"model": {"recall@20": [0.28, 0.32]}, "item_knn_last20": {"recall@20": [0.22, 0.26]}},
        "difference": {"recall@20": {"baseline": "item_knn_last20", "value": 0.06, "low": 0.05, "high": 0.07}},
    }
    report = dataclasses.replace(
        REPORT, intervals=intervals, sample={"requests": 20, "of": 50, "seed": 0}, notes=("20 of 50 requests.",)
    )
    text = text_of(report, PICTURES)
    row = [cell.strip() for cell in lines_with(text, "| recall@20 | 0.3000")[0].strip("|").split("|")]
    assert row[1:4] == ["0.3000 [0.2800, 0.3200]", "0.0100", "0.1000"]
    assert row[-3:] == ["1.25 x", "0.0600 [0.0500, 0.0700]", "0.75 x"]
    assert lines_with(text, "| metric |")[0].count("model - best baseline") == 1
    assert lines_with(text, "coverage@20")[0].count("[") == 0
    assert "20 of 50 requests." in text
    written = json.loads(report_json(report))
    assert (written["sample"], written["intervals"]) == ({"requests": 20, "of": 50, "seed": 0}, intervals)


def test_the_slices_stand_beside_all_queries() -> None:
    text = text_of(REPORT, PICTURES)
    cold = [cell.strip() for cell in lines_with(text, "| cold_items |")[0].strip("|").split("|")]
    assert cold[:3] == ["cold_items", "83", "0.1500"]
    assert cold[-2:] == ["0.50 x", "0.0000"]  # .15 / .30, and what kNN finds
    nobody = [cell.strip() for cell in lines_with(text, "| cold_users |")[0].strip("|").split("|")]
    assert nobody == ["cold_users", "0", "n/a", "n/a", "n/a", "n/a", ""]


def test_the_ranking_head_has_a_cell_only_where_a_metric_applies() -> None:
    text = text_of(REPORT, PICTURES)
    assert "| label |  | auc | logloss | ece | rmse |" in text
    assert "| like | model | 0.8100 | 0.4400 | 0.0200 |  |" in text
    assert "| like | model before calibration | 0.8100 | 0.5000 | 0.1100 |  |" in text
    assert "| like | popularity baseline | 0.6100 | 0.6600 | 0.0300 |  |" in text
    assert "| rating | bias baseline |  |  |  | 0.9500 |" in text
    assert "| like | retrieval + weight x label | 0.5 | 0.2600 | 0.2700 |" in text
    assert "| like | label alone |  | 0.1100 | 0.1200 |" in text


def test_missing_content_and_weights_have_a_line_each() -> None:
    text = text_of(REPORT, PICTURES)
    assert "| text | 0.1500 | 0.0750 | 0.0375 | 0.0187 | 0.50 x |" in text
    assert "2 of the 4 subsets of the modalities" in text
    assert "| noir | 9 | 0.5000 | 0.5000 |" in text


def test_the_price_of_diversity_has_a_line_for_every_setting() -> None:
    text = text_of(REPORT, PICTURES)
    assert "| diversity | recall@20 | ndcg@10 | diversity@20 | coverage@20 |" in text
    assert "| 0.5 | 0.2800 | 0.1100 | 0.6200 | 0.4700 |" in text
    assert "| 1 | 0.1500 | n/a | 0.8000 | 0.6000 |" in text
    assert "Accuracy against diversity" not in text_of(PLAIN, PICTURES)


def test_the_chosen_exploration_is_marked() -> None:
    rows = [line for line in lines_with(text_of(REPORT, PICTURES), "|") if line.endswith("| yes |")]
    assert [row.split("|")[1:4] for row in rows] == [[" 0.5 ", " 0.2900 ", " 0.1500 "]]
