"""Whether content is used at all: the same model on the content, and on the content of other items.

    python -m benchmarks.control --data DIR --features timbre [--cold-items 0.1] [--seeds 3] [--work DIR]

Builds the data set twice with those item features alone, once with their rows dealt out anew among the items, and trains
Triptych and content kNN on both. Both answer the same requests. A model that does as well on shuffled content is not using
it; what it has learned from the events alone is the same in both. Shares `--work` with `benchmarks.quality`. Writes
`benchmarks/results/control-<data>-<features>.json`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality import ours as our
from benchmarks.quality.bootstrap import compare
from benchmarks.quality.fits import Fits
from benchmarks.quality.heldout_lists import COMPARED, SLICES, Split, load_split, sliced
from benchmarks.quality.peers.table import named
from benchmarks.quality.quality import RESAMPLES, RESULTS, example_spec, folder_name, measured
from benchmarks.quality.tuning import tune
from benchmarks.quality.variants import Variant, records_of
from pipelines.config import Config, load_config
from pipelines.runs.progress import say
from tfrecs.errors import DataError, TriptychError

PEER = "content_knn"


def answers(
    variant: Variant, work: Path, config: Config, seeds: int, with_ours: bool
) -> tuple[Split, dict[str, dict[str, list[np.ndarray]]]]:
    """The split, and model -> slice -> test lists of each seed."""
    records = records_of(variant, work, config)
    split = load_split(records)
    peers, skipped = tune(named([PEER]), split, Fits(split, work, None, 1), [config.seed])
    if skipped:
        raise DataError(f"{variant.data}: {skipped[PEER]}; name features that have any with --features")
    lists = {PEER: {name: list(chosen.lists) for name, chosen in peers[PEER].items()}}
    if with_ours:
        runs = our.trained(records, work / "runs", config, range(seeds))
        mine = [our.lists(run, split) for run in runs]
        lists["triptych"] = {name: [answers[name].lists for answers in mine] for name in SLICES}
    return split, lists


def control(variant: Variant, root: Path, changes: tuple[str, ...], seeds: int, with_ours: bool) -> dict[str, Any]:
    """Slice -> model -> metric -> the comparison of the true content ("ours") with the shuffled ("peer").

    Raises:
      TriptychError: the data is not what it must be.
    """
    config = load_config(None, changes)
    both = [replace(variant, shuffled=shuffled) for shuffled in (False, True)]
    (split, true), (_, shuffled) = (answers(one, root / folder_name(one), config, seeds, with_ours) for one in both)
    slices: dict[str, Any] = {}
    for name in SLICES:
        queries, _ = sliced(split.queries["test"], split.training.warm, name)
        if not len(queries):
            continue
        slices[name] = {"queries": len(queries)}
        for model in true:
            real, wrong = (measured(lists[model][name], split, name) for lists in (true, shuffled))
            slices[name][model] = {
                metric: _named(
                    compare(
                        real[metric].mean(axis=0),
                        wrong[metric].mean(axis=0),
                        queries.user_ids,
                        count=RESAMPLES,
                        seed=0,
                    ).as_dict()
                )
                for metric in COMPARED
            }
    return {
        "dataset": split.manifest.name,
        "features": list(variant.features),
        "protocol": split.manifest.protocol,
        "set": list(changes),
        "slices": slices,
    }


def _named(found: dict[str, float | None]) -> dict[str, float | None]:
    names = {"ours": "true", "peer": "shuffled"}
    return {names.get(name, name): value for name, value in found.items()}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--spec", type=click.Path(path_type=Path))
@click.option("--features", required=True, help="Item features, comma between.")
@click.option("--cold-items", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/quality"), show_default=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of the runs.")
@click.option("--peers-only", is_flag=True, help="Content kNN alone, nothing is trained.")
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(
    data: Path, spec: Path | None, features: str, cold_items: float, seeds: int, work: Path, changes: tuple[str, ...],
    peers_only: bool, out: Path | None,
) -> None:  # fmt: skip
    variant = Variant(data, example_spec(data, spec), tuple(features.split(",")), cold_items)
    try:
        result = control(variant, work, changes, seeds, not peers_only)
    except TriptychError as error:
        click.echo(f"control: {error}", err=True)
        sys.exit(2)
    for name, part in result["slices"].items():
        for model in [key for key in part if key != "queries"]:
            found = part[model]["recall@20"]
            say(
                f"{name:<5} {model:<12} Recall@20 {found['true']:.4f}, shuffled {found['shuffled']:.4f}, difference "
                f"{found['difference']:+.4f} ({found['difference_low']:+.4f} to {found['difference_high']:+.4f})"
            )
    path = out or RESULTS / f"control-{data.name}-{'-'.join(variant.features)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = f"python -m benchmarks.control --data DIR/{data.name} --features {features} --cold-items {cold_items:g}"
    command += f" --seeds {seeds}" + " --peers-only" * peers_only + "".join(f" --set {one}" for one in changes)
    path.write_text(json.dumps({"command": command, **result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
