"""Evaluation of a bounded sample, in blocks, with what is shared between its parts and kept beside the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from whole import Whole

from pipelines.evaluation import evaluator, missing_modalities, systems
from pipelines.evaluation.systems import HEADLINE, intervals
from pipelines.hybrid import trained_run
from pipelines.hybrid.trained_run import TrainedRun
from pipelines.item_item import storage
from pipelines.reporting.formatting import MODEL
from pipelines.scoring import metrics
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.metrics import Ranking
from pipelines.scoring.requests import Queries


def with_settings(run: TrainedRun, **settings: int) -> TrainedRun:
    evaluate = run.config.evaluate.model_copy(update=settings)
    return dataclasses.replace(run, config=run.config.model_copy(update={"evaluate": evaluate}))


def test_intervals_are_those_of_users_and_differences_are_paired() -> None:
    # Ten users of two requests. The model hits both requests of the first five, the baseline the first of these.
    count, target = 20, np.array([3], np.int32)
    queries = Queries(
        np.repeat([f"u{user}" for user in range(10)], 2),
        np.zeros(count, np.int64),
        [np.zeros(0, np.int32)] * count,
        [target] * count,
        np.arange(count),
    )
    hit, miss = np.r_[3, np.full(49, -1)], np.full(50, -1)
    by_model = np.array([hit if row < 10 else miss for row in range(count)], np.int32)
    by_baseline = np.array([hit if row < 10 and row % 2 == 0 else miss for row in range(count)], np.int32)
    rankings = {MODEL: Ranking(by_model, 9), "popularity": Ranking(by_baseline, 9)}
    means = {name: metrics.accuracy(ranking, queries) for name, ranking in rankings.items()}
    found = intervals(rankings, means, queries, seed=0)
    assert set(found["systems"]) == set(rankings)
    assert set(found["systems"][MODEL]) == set(found["difference"]) == set(HEADLINE)
    # Users hit with probability 1/2: deviation sqrt(.25 / 10) = .158 of the model, half of it of the baseline and
    # of the difference, which is half of the model's mean in every resample.
    low, high = found["systems"][MODEL]["recall@20"]
    assert (low, high) == pytest.approx((0.2, 0.8))
    assert found["systems"]["popularity"]["mrr"] == pytest.approx([low / 2, high / 2])
    between = found["difference"]["ndcg@10"]
    assert between["baseline"] == "popularity"
    assert (between["value"], between["low"], between["high"]) == pytest.approx((0.25, low / 2, high / 2))
    assert intervals({MODEL: Ranking(by_model[:0], 9)}, means, queries.slice(0, 0), seed=0) == {}


def test_a_model_scores_blocks_of_items_as_it_scores_all(plain_run: TrainedRun) -> None:
    requests = held_out_requests(plain_run)
    scorer, queries = plain_run.scorer(requests), requests.queries.slice(0, 9)
    assert scorer.hybrid is not None
    whole = scorer(queries)
    for size in (1, 7, 40, 100):
        blocks = list(scorer.blocks(queries, size))
        assert [block.shape[1] for block in blocks[:-1]] == [size] * (len(blocks) - 1)
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), whole, rtol=1e-5, atol=1e-5)


def test_all_systems_and_slices_are_measured_on_one_sample(
    plain_run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[int]] = {}
    rank = systems.rank

    def watched(scorer, queries, num_items, settings, *, depth=None, label="ranking"):  # type: ignore[no-untyped-def]
        asked.setdefault(label, []).append(len(queries))
        return rank(scorer, queries, num_items, settings, depth=depth, label=label)

    for module in (systems, missing_modalities, evaluator):
        monkeypatch.setattr(module, "rank", watched)
    everything = held_out_requests(plain_run)
    run = with_settings(plain_run, max_requests=20, slice_requests=4, section_requests=10, pattern_queries=5)
    report = evaluator.evaluate(run, commands={}, curve=())
    assert report.sample == {"requests": 20, "of": len(everything), "seed": run.config.seed}
    assert report.notes[0].startswith(f"20 of {len(everything)} requests, sampled with seed {run.config.seed}")
    assert "10 of these requests at most" in report.notes[1]
    by_system = [sizes for label, sizes in asked.items() if label.startswith("ranking by ") and "alone" not in label]
    assert len(by_system) == 5
    assert all(sizes == by_system[0] for sizes in by_system)
    drawn = by_system[0][0]
    assert drawn <= 20 + 2 * 4
    assert report.slices["without_genre"]["queries"] == 10
    assert [row["queries"] for row in report.patterns] == [5] * 4
    assert set(report.intervals["systems"]) == {MODEL, *report.baselines}
    for name, (low, high) in report.intervals["systems"][MODEL].items():
        assert low <= report.model[name] <= high
    # Nothing, half and shuffled with the score as a whole, content alone for each of four; everything is the model's.
    assert asked["ranking"] == [5, 10, 5, 5, 5, 5, 5]
    again = evaluator.evaluate(run, commands={}, curve=())
    assert again.model == report.model
    assert again.intervals == report.intervals


def test_blocks_of_any_size_give_the_report_of_whole_rows(plain: Whole, plain_run: TrainedRun) -> None:
    was = plain.evaluation.report
    found = evaluator.evaluate(with_settings(plain_run, scores_in_memory=7), commands={}, curve=())
    assert found.sample["requests"] == found.sample["of"]
    assert found.model == pytest.approx(dict(was.model), abs=1e-9)
    for name, values in was.baselines.items():
        assert found.baselines[name] == pytest.approx(dict(values), abs=1e-9)


def test_evaluate_and_export_read_what_training_fitted(
    plain: Whole, plain_run: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (plain.run / storage.FILE).is_file()

    def refused(*arguments: object, **named: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(trained_run, "fit_item_item", refused)
    fresh = dataclasses.replace(plain_run)
    assert fresh.item_item is not None
    # Content has a part in this model: other content changes the neighbours and nothing else.
    assert fresh.hybrid_weights is not None
    assert fresh.hybrid_weights.content_weight > 0
    score = fresh.with_content(np.zeros_like(fresh.items.presence))[1]
    assert score is not None


def test_a_file_of_other_settings_is_not_taken(plain_run: TrainedRun, tmp_path: Path) -> None:
    hybrid = plain_run.config.hybrid.model_copy(update={"window": 3})
    other = plain_run.config.model_copy(update={"hybrid": hybrid})
    assert plain_run.hybrid_weights is not None
    ease = plain_run.hybrid_weights.ease
    changed = dataclasses.replace(plain_run, config=other)
    assert trained_run.item_item_id(plain_run, ease) != trained_run.item_item_id(changed, ease)
    fresh = dataclasses.replace(plain_run, folder=tmp_path)
    assert fresh.item_item is not None
    assert (tmp_path / storage.FILE).is_file()
