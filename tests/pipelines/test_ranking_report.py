"""The ranking head in the report, the export and the curves of the small trained model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.summary.summary_iterator import summary_iterator
from whole import Whole

from pipelines.evaluation.label_metrics import expected_calibration_error
from pipelines.evaluation.ranking_head import predict_labels
from pipelines.exporting.sample_requests import recommend_inputs
from pipelines.hybrid.trained_run import TrainedRun
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.held_out import held_out_requests, validation_requests
from pipelines.scoring.model_scorer import ModelGraphs, ModelScorer
from pipelines.training.loop import scalars_by_curve
from pipelines.training.validation import validate
from serving.export_check.gate import ask_fresh_process
from serving.graph import contract
from tfrecs.errors import DivergedError
from tfrecs.reading.training_events import load_labelled_events


def test_the_head_stands_beside_its_baselines(whole: Whole) -> None:
    ranking = json.loads((whole.run / "reports" / "report.json").read_text())["ranking"]
    like, rating = ranking["like"], ranking["rating"]
    probabilities = {"auc", "logloss", "brier", "ece"}
    for metrics in (like, like["uncalibrated"], like["baselines"]["popularity"], like["baselines"]["bias"]):
        assert probabilities <= set(metrics)
    assert {name: set(metrics) for name, metrics in rating["baselines"].items()} == {
        "popularity": {"rmse"}, "bias": {"rmse"}
    }  # fmt: skip
    # A slope above zero does not change an order.
    assert like["auc"] == pytest.approx(like["uncalibrated"]["auc"], abs=1e-9)
    bins = like["reliability"]["calibrated"]
    total = sum(bins["count"])
    gaps = [
        count * abs(said - was)
        for count, said, was in zip(bins["count"], bins["predicted"], bins["observed"], strict=True)
        if count
    ]
    assert sum(gaps) / total == pytest.approx(like["ece"])
    assert total == sum(like["reliability"]["uncalibrated"]["count"])


def test_reranking_never_lowers_ndcg_on_validation(whole: Whole) -> None:
    for metrics in whole.evaluation.report.ranking.values():
        found = metrics["reranking"]
        assert found["valid_blend_ndcg@10"] >= found["valid_retrieval_ndcg@10"]
        assert found["test_retrieval_ndcg@10"] == pytest.approx(whole.evaluation.report.model["ndcg@10"])
        if found["weight"] == 0:
            assert found["test_blend_ndcg@10"] == found["test_retrieval_ndcg@10"]


@pytest.mark.slow
def test_calibration_was_fitted_on_the_validation_split_and_kept_with_the_best_epoch(
    whole: Whole, session: TrainedRun
) -> None:
    head = session.model.ranking_head
    assert head is not None
    validation = validation_requests(session)
    settings = whole.config.evaluate
    found = validate(ModelScorer.of_towers(session.model, validation), validation, settings)
    # Not exactly: the best epoch's cache and averages were the same, threads add in any order.
    assert (float(head.slope[0]), float(head.offset[0])) == pytest.approx(found.calibration["like"], rel=1e-3, abs=1e-3)
    assert (float(head.slope[0]), float(head.offset[0])) != (1.0, 0.0)
    predictions = predict_labels(ModelScorer.of_towers(session.model, validation), settings)
    raw, truth = predictions.logits["like"].astype(np.float64), validation.pair_labels[:, 0]
    said = 1 / (1 + np.exp(-(float(head.slope[0]) * raw + float(head.offset[0]))))
    before = expected_calibration_error(truth, 1 / (1 + np.exp(-raw)), 5)
    assert expected_calibration_error(truth, said, 5) < before
    # At the maximum of the likelihood the mean is right, but for Platt's two extra events.
    assert said.mean() == pytest.approx(np.nanmean(truth), abs=2 / len(truth))


@pytest.mark.slow
def test_the_served_like_is_the_calibrated_one(plain: Whole, plain_run: TrainedRun) -> None:
    head = plain_run.model.ranking_head
    assert head is not None
    requests = held_out_requests(plain_run)
    rows = np.arange(5)
    inputs = recommend_inputs(plain_run.manifest.schema_, plain_run.catalogue.ids, requests, rows, 20)
    ids = plain_run.catalogue.ids[:4].astype(object)
    asked = {**{name: value for name, value in inputs.items() if name != "k"}, "candidate_ids": np.tile(ids, [5, 1])}
    served = ask_fresh_process(plain.export.path, {contract.RANK: asked}).outputs[contract.RANK]["like"]
    scorer = ModelScorer(ModelGraphs(plain_run.model), requests, tf.constant(plain_run.item_index().item_embeddings))
    query_embeddings = scorer.query_embeddings(requests.queries.take(rows)).numpy()
    raw = scorer.logits(query_embeddings, np.tile(np.arange(4), [5, 1]), 64)["like"]
    expected = 1 / (1 + np.exp(-(float(head.slope[0]) * raw + float(head.offset[0]))))
    np.testing.assert_allclose(served, expected, atol=1e-5)
    assert np.abs(served - 1 / (1 + np.exp(-raw))).max() > 1e-3


def test_training_labels_are_every_training_event_once(whole: Whole, session: TrainedRun) -> None:
    events = load_labelled_events(whole.records, session.manifest, session.catalogue.ids)
    assert len(events.items) == session.manifest.splits["train"].events
    stars = events.labels[:, 1]
    assert set(np.unique(stars)) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    np.testing.assert_array_equal(events.labels[:, 0], (stars >= 4).astype(np.float32))


def test_both_curves_of_a_loss_have_one_tag_in_tensorboard(whole: Whole) -> None:
    written: dict[str, dict[str, list[int]]] = {}
    for part in ("train", "valid"):
        (path,) = (whole.run / "logs" / part).glob("events.*")
        tags: dict[str, list[int]] = {}
        for event in summary_iterator(str(path)):
            for value in event.summary.value:
                tags.setdefault(value.tag, []).append(event.step)
        written[part] = tags
    losses = {"retrieval_loss", "like_loss", "rating_loss"}
    assert losses | {"learning_rate", "search_loss"} <= set(written["train"])
    assert losses | {"recall@20", "ndcg@10", "mrr", "like_auc", "rating_rmse"} <= set(written["valid"])
    assert all(steps == [1, 2, 3] for tags in written.values() for steps in tags.values())
    rows = RunFolder(whole.run).read_metrics()
    assert rows[-1]["learning_rate"] < rows[0]["learning_rate"]
    assert {name for part in scalars_by_curve(rows[0]).values() for name in part} == set(written["train"]) | set(
        written["valid"]
    )


def test_the_validation_loss_is_the_cross_entropy_over_the_catalogue(whole: Whole, session: TrainedRun) -> None:
    validation = validation_requests(session)
    scorer = ModelScorer.of_towers(session.model, validation)
    settings = whole.config.evaluate.model_copy(update={"batch": 7})
    found = validate(scorer, validation, settings).values
    queries = validation.queries
    scores = scorer(queries).astype(np.float64)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = [-np.log(chances[row, target]).mean() for row, target in enumerate(queries.targets) if len(target)]
    assert found["retrieval_loss"] == pytest.approx(np.mean(expected), abs=1e-4)
    # The same in blocks of items: 16 requests share 100 scores each, of more items than that.
    in_blocks = validate(scorer, validation, settings.model_copy(update={"scores_in_memory": 1600})).values
    assert in_blocks == pytest.approx(found, rel=1e-5, nan_ok=True)


def test_scores_that_are_not_finite_end_a_training_in_one_line(whole: Whole, session: TrainedRun) -> None:
    validation = validation_requests(session)
    scorer = ModelScorer(ModelGraphs(session.model), validation, session.model.item_embeddings()[0] * float("nan"))
    with pytest.raises(DivergedError, match=r"lower train\.learning_rate$"):
        validate(scorer, validation, whole.config.evaluate)
