"""Item-item models of small and large catalogues: what each recommends, and what it costs.

    python -m benchmarks.scale.item_item [--data DIR/ml1m --data DIR/tiktok ...] [--items 100000 --events 5000000]

On each data folder, beside popularity, item-kNN, dense EASE and what takes its place above `hybrid.linear_items` items, the
regression of every item on its nearest neighbours, in one run: each with `hybrid.neighbours` links an item, tuned on
validation (NDCG@20), measured on test, with the share of EASE's gain over item-kNN that it keeps. Then the time and the peak
of the memory of each phase on a generated log with latent structure, and of the hybrid score of a request in the graph, with
and without passes over all items. Writes `benchmarks/results/item-item.json`.
"""

from __future__ import annotations

import itertools
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from benchmarks.quality.heldout import DEPTH, TUNING_METRIC, BenchmarkSplit, load_split
from benchmarks.quality.peers.interface import history_matrix
from benchmarks.quality.variants import Variant, build_variant, example_spec
from benchmarks.results_file import RESULTS, command_line, machine, write_result
from benchmarks.scale.generate import Sizes, World
from pipelines.config import Config, load_config
from pipelines.evaluation.baselines import popularity_scorer
from pipelines.item_item.ease import Ease, EaseSettings
from pipelines.item_item.neighbour_regression import neighbour_regression
from pipelines.item_item.neighbours import co_occurrences, interaction_matrix, item_similarities, successor_similarities
from pipelines.item_item.random_walk import random_walk
from pipelines.item_item.sparse_top import top_links
from pipelines.runs.progress import say
from pipelines.scoring import metrics
from pipelines.scoring.requests import Queries, Scorer
from towers import hybrid
from towers.hybrid import BIAS, NEIGHBOURS, POPULARITY, RECENT, SUCCESSORS, TOWER, HybridScore

SHRINKAGES = (10.0, 50.0)
LAST = (5, 20, 10_000)  # newest events of a history that count
MEASURED = ("recall@20", "ndcg@20")
EVENTS_OF_A_USER = 50
ROUNDS = 9


def kept(matrix: sp.csr_matrix, links: int) -> sp.csr_matrix:
    """Keep the largest entries of each row, as an exported model does."""
    return top_links(matrix, links).to_csr(matrix.shape[1])


def summed(matrix: sp.csr_matrix, last: int) -> Scorer:
    """Return a scorer that adds up the rows of the newest items."""
    return lambda queries: (history_matrix(queries.histories, matrix.shape[0], last) @ matrix).toarray()


def quality(split: BenchmarkSplit, config: Config) -> dict[str, dict[str, Any]]:
    """Tune and measure every model on one data set; model -> metrics, settings and seconds of a fit."""
    train, settings = split.training.matrix, config.hybrid
    links, num_items = settings.neighbours, split.training.num_items

    def measure(scorer: Scorer, queries: Queries) -> dict[str, float]:
        ranking = metrics.rank(scorer, queries, num_items=num_items, depth=DEPTH, batch=config.evaluate.batch)
        return metrics.accuracy(ranking, queries)

    ease = Ease(train)
    nearest = item_similarities(train, shrinkage=settings.shrinkage, neighbours=links)
    models: dict[str, tuple[Sequence[float], Callable[[float], sp.csr_matrix]]] = {
        "item_knn": (SHRINKAGES, lambda value: item_similarities(train, shrinkage=value, neighbours=links)),
        "ease": (settings.regularizations, lambda value: kept(sp.csr_matrix(ease.weights(EaseSettings(value))), links)),
        "neighbour_regression": (
            settings.regularizations,
            lambda value: kept(neighbour_regression(train, nearest, value), links),
        ),
    }
    popular = measure(popularity_scorer(train), split.queries["test"])
    result: dict[str, dict[str, Any]] = {"popularity": {name: round(popular[name], 5) for name in MEASURED}}
    for name, (options, fit) in models.items():
        started = time.perf_counter()
        fitted = {option: fit(option) for option in options}
        seconds = (time.perf_counter() - started) / len(options)
        tuned = {
            (option, last): measure(summed(fitted[option], last), split.queries["valid"])[TUNING_METRIC]
            for option, last in itertools.product(options, LAST)
        }
        option, last = max(tuned, key=lambda key: tuned[key])
        test = measure(summed(fitted[option], last), split.queries["test"])
        result[name] = {key: round(test[key], 5) for key in MEASURED}
        result[name] |= {"option": option, "last": last, "seconds": round(seconds, 2)}
        say(f"{name}: {result[name]}")
    for key in MEASURED:
        gain = result["ease"][key] - result["item_knn"][key]
        own = result["neighbour_regression"][key] - result["item_knn"][key]
        result["neighbour_regression"][f"share_of_gain_{key}"] = round(own / gain, 3) if gain > 0 else None
    return result


def generated_log(num_items: int, num_events: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the log of `benchmarks.scale.generate`.

    Returns:
      users and items, int64 [E], the events of each user one after the other, oldest first.
    """
    world = World(Sizes(num_items, num_events, max(1, num_events // EVENTS_OF_A_USER), seed))
    chunks = list(world.events())
    users, items = (np.concatenate([chunk[name] for chunk in chunks]) for name in ("user_id", "item_id"))
    by_user = np.argsort(users, kind="stable")
    return users[by_user], items[by_user]


def cost(num_items: int, num_events: int, config: Config) -> dict[str, Any]:
    """Measure each phase on a generated log."""
    settings = config.hybrid
    users, items = generated_log(num_items, num_events, config.seed)
    train = interaction_matrix(users, items, num_users=int(users.max()) + 1, num_items=num_items)
    np.minimum(train.data, 1.0, out=train.data)
    phases: dict[str, dict[str, float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        phases[name] = {"seconds": round(time.perf_counter() - started, 1), "peak_gigabytes_until_then": round(peak, 2)}
        say(f"{name}: {phases[name]}")
        return result

    links, shrinkage = settings.kept_links(num_items), settings.shrinkage
    timed("co-occurrences", lambda: co_occurrences(train, config.cooccurrence.num_neighbours))
    timed(
        "successors",
        lambda: successor_similarities(
            users, items, num_items, window=settings.window, shrinkage=shrinkage, neighbours=links
        ),
    )
    nearest = timed("item-kNN", lambda: item_similarities(train, shrinkage=shrinkage, neighbours=links))
    weights = timed("regression on neighbours", lambda: neighbour_regression(train, nearest, 100.0))
    timed("largest weights of each item", lambda: top_links(weights, links))
    if settings.walk_hops:
        timed("random walk", lambda: random_walk(train, {}, settings))
    return {"items": num_items, "events": len(users), "users": train.shape[0], "links": links, "phases": phases}


def score_cost(num_items: int, config: Config) -> dict[str, Any]:
    """Measure the hybrid score of a request in the graph: milliseconds, over all items and over linked ones alone."""
    rng, links = np.random.default_rng(config.seed), config.hybrid.kept_links(num_items)
    weights = {TOWER: 1.0, NEIGHBOURS: 1.0, RECENT: 0.5, SUCCESSORS: 1.0, POPULARITY: 0.2}
    last = {
        NEIGHBOURS: config.user.max_history,
        RECENT: config.hybrid.recent,
        SUCCESSORS: config.hybrid.last_successors,
    }
    score = HybridScore(
        {name: (rng.integers(0, num_items, (num_items, links), np.int32), rng.random((num_items, links), np.float32))
         for name in (NEIGHBOURS, SUCCESSORS)},
        last, rng.random(num_items, np.float32), rng.random(num_items) < 0.05, weights, {**weights, BIAS: 0.1},
        {NEIGHBOURS: 0.1, SUCCESSORS: 0.03},
    )  # fmt: skip
    length = config.user.max_history
    table = tf.constant(rng.random((num_items, config.user.hidden_dim), np.float32))
    result: dict[str, Any] = {"items": num_items, "links": links, "history": length}
    for batch in (1, 32):
        scores = tf.constant(rng.random((batch, num_items), np.float32))
        index = tf.constant(rng.integers(0, num_items, (batch, length), np.int32))
        count = tf.fill([batch], length)
        query = tf.constant(rng.random((batch, config.user.hidden_dim), np.float32))
        given = hybrid.SPARSE_FROM
        for name, sparse_from in (("over_all_items", num_items), ("over_linked_items", 0)):
            hybrid.SPARSE_FROM = sparse_from
            call = tf.function(score, autograph=False)
            result[f"milliseconds_{name}_batch{batch}"] = _median_ms(call, scores, index, count)
        hybrid.SPARSE_FROM = given
        towers = tf.function(lambda query: tf.matmul(query, table, transpose_b=True), autograph=False)
        result[f"milliseconds_towers_batch{batch}"] = _median_ms(towers, query)
    say(f"hybrid score: {result}")
    return result


def _median_ms(call: Callable[..., tf.Tensor], *arguments: tf.Tensor) -> float:
    call(*arguments).numpy()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        call(*arguments).numpy()
        times.append(time.perf_counter() - started)
    return round(1e3 * statistics.median(times), 2)


@click.command()
@click.option(
    "--data", "folders", type=click.Path(path_type=Path), multiple=True, help="A data folder; may be repeated."
)
@click.option("--items", type=click.IntRange(min=2), default=100_000, show_default=True, help="Of the generated log.")
@click.option(
    "--events", type=click.IntRange(min=2), default=5_000_000, show_default=True, help="Of the generated log."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/item-item"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "item-item.json", help="Result file.")
def main(folders: tuple[Path, ...], items: int, events: int, work: Path, out: Path) -> None:
    """Compare item-item models, and measure what they cost."""
    config = load_config(None, ())
    measured = {}
    for folder in folders:
        variant = Variant(folder, example_spec(folder, None))
        split = load_split(build_variant(variant, work / folder.name, config))
        measured[folder.name] = quality(split, config)
    command = command_line(
        "scale.item_item",
        *(f"--data DIR/{folder.name}" for folder in folders),
        f"--items {items}",
        f"--events {events}",
    )
    result = {"command": command, "machine": machine(), "quality": measured}
    result |= {"cost": cost(items, events, config), "score": score_cost(items, config)}
    write_result(out, result)


if __name__ == "__main__":
    main()
