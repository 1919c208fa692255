"""Recommendations beside tuned peers: the same split, histories and evaluator for all, and how sure each difference is.

    python -m venv PEERS && PEERS/bin/pip install -r benchmarks/requirements-peers.txt
    python -m benchmarks.quality --data DIR [--seeds 3] [--peers NAME,...] [--peers-python PEERS/bin/python] [--work DIR]

DIR is the folder of one data set; its spec is `--spec`, its own dataset.yaml, or `examples/<folder>.yaml`. Peers are fitted
on the training split, tuned on validation (NDCG@20), for each slice of the requests anew, and measured on test; so is
`hybrid.explore` of ours for cold items. Beside it, on these slices, stands what ours as exported and peers tuned on all
requests reach. A fit or run that is in `--work` already is not
made again. `--cold-items 0.1` takes the training events of a tenth of the items out; `--features a,b` keeps these item features;
`--shuffled` deals their rows out anew. `--run` gives trained runs, `--set` changes the configuration they are trained with, and
`--peers-only` leaves ours out. Writes `benchmarks/results/quality-<data>[-<variant>].json`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality import ours as our
from benchmarks.quality.bootstrap import compare
from benchmarks.quality.fits import Fits
from benchmarks.quality.heldout_lists import COMPARED, SLICES, Split, load_split, sliced, values
from benchmarks.quality.peers.table import PEERS, named
from benchmarks.quality.tuning import Chosen, tune
from benchmarks.quality.variants import Variant, records_of
from pipelines.config import load_config
from pipelines.runs.progress import say
from tfrecs.errors import SpecError, TriptychError
from tfrecs.spec.dataset_yaml import SPEC_FILE

REPO = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parents[1] / "results"
RESAMPLES = 2000


def measured(lists: list[np.ndarray], split: Split, name: str) -> dict[str, np.ndarray]:
    """Metric -> float64 [seeds, slice] of test lists."""
    queries, rows = sliced(split.queries["test"], split.training.warm, name)
    found = [values(one, queries, rows, split.training.num_items) for one in lists]
    return {metric: np.stack([one[metric] for one in found]) for metric in found[0]}


def compared(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], users: np.ndarray) -> dict[str, Any]:
    """Metric -> the comparison of ours with theirs, both from `measured`, over the means of their seeds."""
    return {
        metric: compare(
            ours[metric].mean(axis=0), theirs[metric].mean(axis=0), users, count=RESAMPLES, seed=0
        ).as_dict()
        for metric in COMPARED
    }


def slice_result(
    split: Split, name: str, mine: list[dict[str, our.Answers]], peers: dict[str, dict[str, Chosen]]
) -> dict[str, Any] | None:
    """The results on one slice of the test requests; None where it has none."""
    queries, _ = sliced(split.queries["test"], split.training.warm, name)
    if not len(queries):
        return None
    result: dict[str, Any] = {"queries": len(queries), "users": len(np.unique(queries.user_ids)), "peers": {}}
    ours: dict[str, np.ndarray] = {}
    served: dict[str, np.ndarray] = {}
    if mine:
        ours = measured([answers[name].lists for answers in mine], split, name)
        result["ours"] = {metric: round(float(value.mean()), 5) for metric, value in ours.items()}
        result["ours_by_seed"] = {m: [round(float(x), 5) for x in value.mean(axis=1)] for m, value in ours.items()}
    if mine and name != "all":
        if name == "cold":
            result["explore"] = [answers[name].explore for answers in mine]
        served = measured([answers["all"].lists for answers in mine], split, name)
        result["ours_as_exported"] = {metric: round(float(value.mean()), 5) for metric, value in served.items()}
    for peer, chosen in peers.items():
        theirs = measured(list(chosen[name].lists), split, name)
        row = {
            "params": chosen[name].params,
            "valid_ndcg@20": round(chosen[name].valid, 5),
            "test": {metric: round(float(value.mean()), 5) for metric, value in theirs.items()},
            "fit_seconds": round(chosen[name].seconds, 1),
            "seeds": len(chosen[name].lists),
        }
        if mine:
            row["ours_against_it"] = compared(ours, theirs, queries.user_ids)
        if name != "all":
            # A model tuned for cold items alone may put them before all others, which nobody would serve.
            whole = measured(list(chosen["all"].lists), split, name)
            row["test_tuned_on_all"] = {metric: round(float(value.mean()), 5) for metric, value in whole.items()}
            if mine:
                row["ours_as_exported_against_it"] = compared(served, whole, queries.user_ids)
        result["peers"][peer] = row
    if peers:
        rows = result["peers"]
        result["best_peer"] = {metric: max(rows, key=lambda peer: rows[peer]["test"][metric]) for metric in COMPARED}
    return result


def table(result: dict[str, Any]) -> str:
    """The results as Markdown: metrics, and what ours is of each peer with its 95 % interval."""
    lines = []
    for name, part in result["slices"].items():
        lines += [
            f"\n{result['dataset']}, {name}: {part['queries']:,} requests of {part['users']:,} users\n",
            "| model | Recall@20 | NDCG@20 | ours / it, Recall@20 | ours / it, NDCG@20 |",
            "| --- | --- | --- | --- | --- |",
        ]
        ranked = sorted(part["peers"].items(), key=lambda row: -row[1]["test"]["ndcg@20"])
        if "ours" in part:
            lines.append(f"| Triptych | {part['ours']['recall@20']:.4f} | {part['ours']['ndcg@20']:.4f} | | |")
        for peer, row in ranked:
            cells = [f"{row['test'][metric]:.4f}" for metric in COMPARED]
            for metric in COMPARED if "ours_against_it" in row else ():
                found = row["ours_against_it"][metric]
                known = [found[name] for name in ("ratio", "ratio_low", "ratio_high")]
                cells.append("{:.3f} ({:.3f} to {:.3f})".format(*known) if None not in known else "none to compare")
            lines.append(f"| {peer} | {' | '.join([*cells, '', ''][:4])} |")
    return "\n".join(lines)


def measure(
    variant: Variant, *, work: Path, changes: tuple[str, ...], seeds: int, peer_seeds: int, names: tuple[str, ...],
    python: Path | None, threads: int, runs: tuple[Path, ...], with_ours: bool,
) -> dict[str, Any]:  # fmt: skip
    """Builds, tunes, trains and compares; returns what goes to the result file.

    Raises:
      TriptychError: the data, a run or a peer's fit is not what it must be.
    """
    config = load_config(None, changes)
    records = records_of(variant, work, config)
    split = load_split(records)
    fits = Fits(split, work, python, threads)
    peers, skipped = tune(named(names), split, fits, range(peer_seeds))
    folders = runs
    if with_ours and not runs:
        folders = tuple(our.trained(records, work / "runs", config, range(seeds)))
    mine = [our.lists(folder, split) for folder in folders]
    slices = {name: slice_result(split, name, mine, peers) for name in SLICES}
    return {
        "dataset": split.manifest.name + (f" ({variant.label})" if variant.label else ""),
        "protocol": split.manifest.protocol,
        "items": split.training.num_items,
        "training_events": len(split.training.items),
        "set": list(changes),
        "versions": {**split.manifest.versions, **fits.versions(named(names))},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator; peers on {threads} thread(s)",
        "slices": {name: part for name, part in slices.items() if part is not None},
        "skipped": skipped,
    }


def example_spec(data: Path, spec: Path | None) -> Path | None:
    """The spec given, or that of `examples/` for a folder of its name that has none itself."""
    example = REPO / "examples" / f"{data.name}.yaml"
    return spec or (example if not (data / SPEC_FILE).is_file() and example.is_file() else None)


def folder_name(variant: Variant) -> str:
    return "-".join(part for part in (variant.data.name, variant.label) if part)


def _names(said: str | None) -> tuple[str, ...]:
    there = [peer.name for peer in PEERS]
    names = tuple(said.split(",")) if said else tuple(there)
    for name in names:
        if name not in there:
            raise SpecError(f"--peers {name}: there are {', '.join(there)}")
    return names


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--spec", type=click.Path(path_type=Path))
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of ours.")
@click.option("--peer-seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Fits of a tuned peer.")
@click.option("--peers", "said", help="Names, comma between; all by default.")
@click.option(
    "--peers-python", "python", type=click.Path(path_type=Path), help="Interpreter with the peers' libraries."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/quality"), show_default=True)
@click.option("--run", "runs", type=click.Path(path_type=Path), multiple=True, help="A trained run of ours; repeat it.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of the runs.")
@click.option("--cold-items", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--features", default="", help="Item features to keep, comma between; all by default.")
@click.option("--shuffled", is_flag=True, help="Content goes to the wrong items: the control.")
@click.option("--peers-only", is_flag=True, help="Fit and measure peers, leave ours out.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of a peer's fit.")
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(
    data: Path, spec: Path | None, seeds: int, peer_seeds: int, said: str | None, python: Path | None, work: Path,
    runs: tuple[Path, ...], changes: tuple[str, ...], cold_items: float, features: str, shuffled: bool, peers_only: bool,
    threads: int, out: Path | None,
) -> None:  # fmt: skip
    kept = tuple(features.split(",")) if features else ()
    variant = Variant(data, example_spec(data, spec), kept, cold_items, shuffled)
    name = folder_name(variant)
    try:
        result = measure(
            variant,
            work=work / name,
            changes=changes,
            seeds=seeds,
            peer_seeds=peer_seeds,
            names=_names(said),
            python=python,
            threads=threads,
            runs=runs,
            with_ours=not peers_only,
        )
    except TriptychError as error:
        click.echo(f"quality: {error}", err=True)
        sys.exit(2)
    say(table(result))
    path = out or RESULTS / f"quality-{name}{'-peers' if peers_only else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = f"python -m benchmarks.quality --data DIR/{data.name} --peers-python PEERS/bin/python"
    command += f" --cold-items {cold_items:g}" * bool(cold_items) + f" --features {features}" * bool(features)
    command += f" --peers {said}" * bool(said)
    command += " --shuffled" * shuffled + " --peers-only" * peers_only + "".join(f" --set {one}" for one in changes)
    path.write_text(json.dumps({"command": command, **result}, indent=1) + "\n", encoding="utf-8")
    say(f"\nResults: {path}")


if __name__ == "__main__":
    main()
