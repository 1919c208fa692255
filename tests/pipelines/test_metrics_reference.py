"""Our metrics and the protocol per user beside trec_eval, the reference implementation of the TREC conferences."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.heldout import load_split, metric_values, slice_queries
from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.scoring import metrics
from pipelines.scoring.metrics import ACCURACY_METRICS, CUTOFFS, Ranking
from pipelines.scoring.requests import Queries, with_targets

pytrec_eval = pytest.importorskip("pytrec_eval", reason="no pytrec_eval here: pip install pytrec-eval-terrier==0.5.11")

NAMES = {"recall": "recall", "ndcg": "ndcg_cut", "precision": "P", "hit": "success", "map": "map_cut"}
ITEMS, DEPTH = 150, 50

Lists = dict[str, list[str]]


def reference(targets: Lists, lists: Lists, metric: str) -> dict[str, float]:
    """What trec_eval says of each user's list under one of our metrics' names.

    It divides average precision by all targets, ours by those that fit into the list; its F1 is of whole lists, so that the
    mean of its precision and recall at k is taken here.
    """
    name, _, k = metric.partition("@")
    wanted = {
        "mrr": ("recip_rank",),
        "f1": (f"P_{k}", f"recall_{k}"),
    }.get(name) or (f"{NAMES[name]}_{k}",)
    asked = {part if "_" not in part or part == "recip_rank" else ".".join(part.rsplit("_", 1)) for part in wanted}
    judged = {user: dict.fromkeys(items, 1) for user, items in targets.items() if items}
    runs = {user: {item: float(-place) for place, item in enumerate(items)} for user, items in lists.items()}
    found = pytrec_eval.RelevanceEvaluator(judged, asked).evaluate(runs)
    result = {}
    for user, values in found.items():
        parts = [values[part] for part in wanted]
        if name == "f1":
            result[user] = 2 * parts[0] * parts[1] / max(sum(parts), 1e-12)
        elif name == "map":
            result[user] = parts[0] * len(judged[user]) / min(len(judged[user]), int(k))
        else:
            result[user] = parts[0]
    return result


def random_problem(seed: int) -> tuple[Queries, np.ndarray]:
    """Users with no target, with one, with more than fit into a list; histories that leave all items, a few, or none."""
    rng = np.random.default_rng(seed)
    counts = np.concatenate([np.zeros(20), np.ones(60), rng.integers(2, 12, 60), rng.integers(51, 120, 60)]).astype(int)
    targets = [rng.choice(ITEMS, count, replace=False).astype(np.int32) for count in counts]
    lengths = rng.choice([0, 5, 60, ITEMS - 30, ITEMS - 3, ITEMS], len(counts))
    histories = [rng.choice(ITEMS, length, replace=False).astype(np.int32) for length in lengths]
    # Distinct scores: trec_eval and we break ties in different orders.
    scores = np.argsort(rng.random((len(counts), ITEMS)), axis=1).astype(np.float32)
    users = np.array([f"u{row}" for row in range(len(counts))])
    return Queries(users, np.zeros(len(counts), np.int64), histories, targets, np.arange(len(counts))), scores


def as_lists(queries: Queries, ranking: Ranking) -> Lists:
    """User -> the ids of the recommended items, without empty places."""
    rows = zip(queries.user_ids.tolist(), ranking.items, strict=True)
    return {user: [f"i{item}" for item in items[items >= 0]] for user, items in rows}


@pytest.mark.parametrize("metric", ACCURACY_METRICS)
def test_every_metric_of_every_user_is_that_of_trec_eval(metric: str) -> None:
    everyone, scores = random_problem(seed=7)
    queries = with_targets(everyone)
    assert len(queries) == 180  # those without a target are no requests; trec_eval leaves them out as well
    ranking = metrics.rank(lambda part: scores[part.rows], queries, num_items=ITEMS, depth=DEPTH, batch=32)
    lists = as_lists(everyone, Ranking(np.full((len(everyone), 0), -1, np.int32), ITEMS)) | as_lists(queries, ranking)
    lengths = {len(lists[user]) for user in queries.user_ids.tolist()}
    assert {0, 3, 30, 50} <= lengths  # empty lists, lists shorter than k, whole ones
    targets = {
        user: [f"i{item}" for item in items]
        for user, items in zip(everyone.user_ids.tolist(), everyone.targets, strict=True)
    }
    expected = reference(targets, lists, metric)
    assert set(expected) == set(queries.user_ids.tolist())
    ours = metrics.per_query(ranking, queries, metric)
    np.testing.assert_allclose(ours, [expected[user] for user in queries.user_ids.tolist()], rtol=0, atol=1e-12)
    assert 0 < ours.mean() < 1


SPEC = """
name: sets
items: {file: items.csv, id: item, title: item}
interactions: {file: log.csv, user: user, item: item}
split: {by: column, column: split}
"""


def write_sets(folder: Path) -> list[tuple[str, str, str]]:
    """A log without order: users with one to thirty test items, some also of their training, some with training alone."""
    rng = np.random.default_rng(11)
    rows = []
    for user in range(40):
        for part, count in (("train", rng.integers(1, 20)), ("valid", user % 3), ("test", (0, 1, 3, 30)[user % 4])):
            rows += [(f"u{user}", f"i{item}", part) for item in rng.choice(80, count, replace=False)]
    folder.mkdir()
    (folder / "dataset.yaml").write_text(SPEC)
    (folder / "items.csv").write_text("item\n" + "".join(f"i{item}\n" for item in range(80)))
    with (folder / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "split"), *rows])
    return rows


def test_the_protocol_per_user_is_that_of_the_raw_log(tmp_path: Path) -> None:
    # Beside our way through records, requests and lists: the log as it was written, and trec_eval.
    rows = write_sets(tmp_path / "data")
    build.run(build.BuildJob(tmp_path / "data", tmp_path / "records", load_config(None, ()), None))
    split = load_split(tmp_path / "records")
    scores = np.argsort(np.random.default_rng(5).random((40, 80)), axis=1).astype(np.float32)
    parts: dict[str, dict[str, set[int]]] = {part: defaultdict(set) for part in ("train", "valid", "test")}
    for user, item, part in rows:
        parts[part][user].add(int(item[1:]))
    lists = {}
    for user in parts["train"]:
        left = set(range(80)) - parts["train"][user] - parts["valid"][user]
        lists[user] = [f"i{item}" for item in sorted(left, key=lambda item: -scores[int(user[1:]), item])[:DEPTH]]
    targets = {user: [f"i{item}" for item in items] for user, items in parts["test"].items()}

    queries = split.queries["test"]
    ids = load_ids(tmp_path / "records")
    order = np.array([int(name[1:]) for name in ids])
    ranking = metrics.rank(
        lambda part: scores[[int(user[1:]) for user in part.user_ids]][:, order],
        queries,
        num_items=80,
        depth=DEPTH,
        batch=16,
    )
    found = metric_values(ranking.items, *slice_queries(queries, split.training.warm, "all"), 80)
    assert len(set(queries.user_ids.tolist())) == len(queries) == 30
    assert max(len(target) for target in queries.targets) == 30
    for metric, values in found.items():
        expected = reference(targets, lists, metric)
        assert dict(zip(queries.user_ids.tolist(), values.tolist(), strict=True)) == pytest.approx(expected, abs=1e-12)
        assert values.mean() == pytest.approx(np.mean(list(expected.values())))
    assert CUTOFFS[-1] == DEPTH


def load_ids(records: Path) -> list[str]:
    """The items' ids in the order of the catalogue."""
    from tfrecs.reading.reader import load_catalogue
    from tfrecs.schema import Manifest

    return [str(item) for item in load_catalogue(records, Manifest.load(records)).ids]
