"""Control of content use: the same model on true content and on the content of other items.

    python -m benchmarks.control --data DIR --features timbre [--cold-items 0.1] [--seeds 3] [--work DIR]

Builds the data set twice with the given item features alone, once with their rows permuted among the items, and trains
Triptych and content kNN on both. Both answer the same requests. A model that is as good on shuffled content does not use
the content; what it learns from events is the same in both. Shares `--work` with `benchmarks.quality`. Writes
`benchmarks/results/control-<data>-<features>.json`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality.comparison import compare_metrics, measure_lists
from benchmarks.quality.fit_cache import FitCache
from benchmarks.quality.heldout import SLICES, BenchmarkSplit, load_split, slice_queries
from benchmarks.quality.peers.table import peers_named
from benchmarks.quality.triptych_runs import ranked_lists, train_runs
from benchmarks.quality.tuning import tune_peers
from benchmarks.quality.variants import Variant, build_variant, example_spec
from benchmarks.results_file import RESULTS, command_line, write_result
from pipelines.config import Config, load_config
from pipelines.runs.progress import say
from tfrecs.errors import DataError, TriptychError

PEER = "content_knn"


def rank_variant(
    variant: Variant, work: Path, config: Config, seeds: int, peers_only: bool
) -> tuple[BenchmarkSplit, dict[str, dict[str, list[np.ndarray]]]]:
    """Return the split of a variant, and model -> slice -> test lists of each seed."""
    records = build_variant(variant, work, config)
    split = load_split(records)
    peers, skipped = tune_peers(peers_named([PEER]), split, FitCache(split, work, None, 1), [config.seed])
    if skipped:
        raise DataError(f"{variant.data}: {skipped[PEER]}; name features that have content with --features")
    lists = {PEER: {name: list(tuned.lists) for name, tuned in peers[PEER].items()}}
    if not peers_only:
        runs = [ranked_lists(run, split) for run in train_runs(records, work / "runs", config, range(seeds))]
        lists["triptych"] = {name: [run[name].lists for run in runs] for name in SLICES}
    return split, lists


def measure(variant: Variant, root: Path, changes: tuple[str, ...], seeds: int, peers_only: bool) -> dict[str, Any]:
    """Compare true with shuffled content; return the content of the result file. Raises TriptychError."""
    config = load_config(None, changes)
    variants = [replace(variant, shuffled=shuffled) for shuffled in (False, True)]
    (split, true_lists), (_, shuffled_lists) = (
        rank_variant(each, root / each.folder_name, config, seeds, peers_only) for each in variants
    )
    slices: dict[str, Any] = {}
    for name in SLICES:
        queries, _ = slice_queries(split.queries["test"], split.training.warm, name)
        if not len(queries):
            continue
        slices[name] = {"queries": len(queries)}
        for model in true_lists:
            true, shuffled = (measure_lists(lists[model][name], split, name) for lists in (true_lists, shuffled_lists))
            comparisons = compare_metrics(true, shuffled, queries.user_ids)
            slices[name][model] = {metric: _rename_models(comparison) for metric, comparison in comparisons.items()}
    return {
        "dataset": split.manifest.name,
        "features": list(variant.features),
        "protocol": split.manifest.protocol,
        "set": list(changes),
        "slices": slices,
    }


def _rename_models(comparison: dict[str, float | None]) -> dict[str, float | None]:
    names = {"ours": "true", "peer": "shuffled"}
    return {names.get(name, name): value for name, value in comparison.items()}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--spec", type=click.Path(path_type=Path))
@click.option("--features", required=True, help="Item features, separated by commas.")
@click.option("--cold-items", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/quality"), show_default=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of the runs.")
@click.option("--peers-only", is_flag=True, help="Measure content kNN only, without training.")
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(
    data: Path, spec: Path | None, features: str, cold_items: float, seeds: int, work: Path, changes: tuple[str, ...],
    peers_only: bool, out: Path | None,
) -> None:  # fmt: skip
    """Compare models on true and on shuffled content."""
    variant = Variant(data, example_spec(data, spec), tuple(features.split(",")), cold_items)
    try:
        result = measure(variant, work, changes, seeds, peers_only)
    except TriptychError as error:
        click.echo(f"control: {error}", err=True)
        sys.exit(2)
    for name, part in result["slices"].items():
        for model in [key for key in part if key != "queries"]:
            recall = part[model]["recall@20"]
            say(
                f"{name:<5} {model:<12} Recall@20 {recall['true']:.4f}, shuffled {recall['shuffled']:.4f}, difference "
                f"{recall['difference']:+.4f} ({recall['difference_low']:+.4f} to {recall['difference_high']:+.4f})"
            )
    command = command_line(
        "control",
        f"--data DIR/{data.name} --features {features} --cold-items {cold_items:g} --seeds {seeds}",
        "--peers-only" * peers_only,
        changes=changes,
    )
    path = out or RESULTS / f"control-{data.name}-{'-'.join(variant.features)}.json"
    write_result(path, {"command": command, **result})


if __name__ == "__main__":
    main()
