"""Comparison of Triptych with tuned peers on one data set, by slices of the test requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.fit_cache import FitCache
from benchmarks.quality.heldout import (
    COMPARED_METRICS,
    SLICES,
    BenchmarkSplit,
    load_split,
    metric_values,
    slice_queries,
)
from benchmarks.quality.peers.table import peers_named
from benchmarks.quality.triptych_runs import SliceLists, ranked_lists, train_runs
from benchmarks.quality.tuning import TunedPeer, tune_peers
from benchmarks.quality.variants import Variant, build_variant
from benchmarks.results_file import machine
from pipelines.config import load_config
from pipelines.scoring.bootstrap import compare


def measure_lists(lists: Sequence[np.ndarray], split: BenchmarkSplit, name: str) -> dict[str, np.ndarray]:
    """Compute metric -> float64 [seeds, slice] of the test lists of each seed."""
    queries, rows = slice_queries(split.queries["test"], split.training.warm, name)
    by_seed = [metric_values(seed_lists, queries, rows, split.training.num_items) for seed_lists in lists]
    return {metric: np.stack([values[metric] for values in by_seed]) for metric in by_seed[0]}


def compare_metrics(ours: dict[str, np.ndarray], peer: dict[str, np.ndarray], users: np.ndarray) -> dict[str, Any]:
    """Compare two results of `measure_lists`, averaged over seeds; returns metric -> comparison."""
    return {
        metric: compare(ours[metric].mean(axis=0), peer[metric].mean(axis=0), users).as_dict()
        for metric in COMPARED_METRICS
    }


def _means(values: dict[str, np.ndarray]) -> dict[str, float]:
    return {metric: round(float(array.mean()), 5) for metric, array in values.items()}


def slice_result(
    split: BenchmarkSplit, name: str, runs: list[dict[str, SliceLists]], peers: dict[str, dict[str, TunedPeer]]
) -> dict[str, Any] | None:
    """Return the results of one slice of the test requests, None if it is empty.

    Args:
      split: the requests.
      name: of the slice.
      runs: our ranked lists of each seed; may be empty.
      peers: peer -> slice -> the tuned peer.
    """
    queries, _ = slice_queries(split.queries["test"], split.training.warm, name)
    if not len(queries):
        return None
    result: dict[str, Any] = {"queries": len(queries), "users": len(np.unique(queries.user_ids)), "peers": {}}
    ours: dict[str, np.ndarray] = {}
    as_exported: dict[str, np.ndarray] = {}
    if runs:
        ours = measure_lists([run[name].lists for run in runs], split, name)
        result["ours"] = _means(ours)
        result["ours_by_seed"] = {m: [round(float(x), 5) for x in value.mean(axis=1)] for m, value in ours.items()}
    if runs and name != "all":
        if name == "cold":
            result["explore"] = [run[name].explore for run in runs]
        as_exported = measure_lists([run["all"].lists for run in runs], split, name)
        result["ours_as_exported"] = _means(as_exported)
    for peer, tuned in peers.items():
        values = measure_lists(tuned[name].lists, split, name)
        row = {
            "params": tuned[name].params,
            "valid_ndcg@20": round(tuned[name].valid, 5),
            "test": _means(values),
            "fit_seconds": round(tuned[name].seconds, 1),
            "seeds": len(tuned[name].lists),
        }
        if tuned[name].epochs:
            row["epochs"] = [{"best": best, "trained": trained} for best, trained in tuned[name].epochs]
        if runs:
            row["ours_against_it"] = compare_metrics(ours, values, queries.user_ids)
        if name != "all":
            # A model tuned for cold items alone may rank them above all others, which nobody would deploy.
            values_on_all = measure_lists(tuned["all"].lists, split, name)
            row["test_tuned_on_all"] = _means(values_on_all)
            if runs:
                row["ours_as_exported_against_it"] = compare_metrics(as_exported, values_on_all, queries.user_ids)
        result["peers"][peer] = row
    if peers:
        rows = result["peers"]
        best = {metric: max(rows, key=lambda peer: rows[peer]["test"][metric]) for metric in COMPARED_METRICS}
        result["best_peer"] = best
    return result


def markdown_table(result: dict[str, Any]) -> str:
    """Format the results as Markdown: metrics, and our ratio to each peer with its 95 % interval."""
    lines = []
    for name, part in result["slices"].items():
        lines += [
            f"\n{result['dataset']}, {name}: {part['queries']:,} requests of {part['users']:,} users\n",
            "| model | Recall@20 | NDCG@20 | ours / it, Recall@20 | ours / it, NDCG@20 |",
            "| --- | --- | --- | --- | --- |",
        ]
        if "ours" in part:
            lines.append(f"| Triptych | {part['ours']['recall@20']:.4f} | {part['ours']['ndcg@20']:.4f} | | |")
        for peer, row in sorted(part["peers"].items(), key=lambda item: -item[1]["test"]["ndcg@20"]):
            cells = [f"{row['test'][metric]:.4f}" for metric in COMPARED_METRICS]
            for metric in COMPARED_METRICS if "ours_against_it" in row else ():
                ratios = [row["ours_against_it"][metric][key] for key in ("ratio", "ratio_low", "ratio_high")]
                cells.append("{:.3f} ({:.3f} to {:.3f})".format(*ratios) if None not in ratios else "undefined")
            lines.append(f"| {peer} | {' | '.join([*cells, '', ''][:4])} |")
    return "\n".join(lines)


def measure(
    variant: Variant,
    *,
    work: Path,
    changes: tuple[str, ...],
    seeds: int,
    peer_seeds: int,
    peer_names: tuple[str, ...],
    python: Path | None,
    threads: int,
    runs: tuple[Path, ...],
    peers_only: bool,
) -> dict[str, Any]:
    """Build, tune, train and compare; return the content of the result file. Raises TriptychError."""
    config = load_config(None, changes)
    records = build_variant(variant, work, config)
    split = load_split(records)
    cache = FitCache(split, work, python, threads)
    rows = peers_named(peer_names)
    peers, skipped = tune_peers(rows, split, cache, range(peer_seeds))
    folders: Sequence[Path] = runs
    if not peers_only and not runs:
        folders = train_runs(records, work / "runs", config, range(seeds))
    our_lists = [ranked_lists(folder, split) for folder in folders]
    slices = {name: slice_result(split, name, our_lists, peers) for name in SLICES}
    return {
        "dataset": split.manifest.name + (f" ({variant.label})" if variant.label else ""),
        "protocol": split.manifest.protocol,
        "items": split.training.num_items,
        "training_events": len(split.training.items),
        "set": list(changes),
        "versions": {**split.manifest.versions, **cache.versions(rows)},
        "machine": f"{machine()}; peers on {threads} thread(s)",
        "slices": {name: part for name, part in slices.items() if part is not None},
        "skipped": skipped,
    }
