"""Recommendation quality beside tuned peers: the same split, histories and evaluator for all models.

    python -m venv PEERS && PEERS/bin/pip install -r benchmarks/requirements-peers.txt
    python -m benchmarks.quality --data DIR [--seeds 3] [--peers NAME,...] [--peers-python PEERS/bin/python] [--work DIR]

DIR is the folder of one data set; its spec is `--spec`, its own dataset.yaml, or `examples/<folder>.yaml`. Peers are fitted
on the training split, tuned on validation (NDCG@20) for each slice of the requests, and measured on test; so is our
`hybrid.explore` for cold items. The results also state what our model as exported and the peers tuned on all requests reach
on each slice. Fits and runs in `--work` are reused. `--cold-items 0.1` removes the training events of a tenth of the items;
`--features a,b` keeps these item features; `--shuffled` permutes them among the items. `--run` gives trained runs, `--set`
changes the configuration they are trained with, and `--peers-only` leaves our model out. Writes
`benchmarks/results/quality-<data>[-<variant>].json`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks.quality.comparison import markdown_table, measure
from benchmarks.quality.peers.table import PEERS
from benchmarks.quality.variants import Variant, example_spec
from benchmarks.results_file import RESULTS, command_line, write_result
from pipelines.runs.progress import say
from tfrecs.errors import SpecError, TriptychError


def _peer_names(given: str | None) -> tuple[str, ...]:
    known = [peer.name for peer in PEERS]
    names = tuple(given.split(",")) if given else tuple(known)
    for name in names:
        if name not in known:
            raise SpecError(f"--peers {name}: there are {', '.join(known)}")
    return names


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--spec", type=click.Path(path_type=Path))
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of our model.")
@click.option("--peer-seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Fits of a tuned peer.")
@click.option("--peers", "peers", help="Names, separated by commas; all by default.")
@click.option(
    "--peers-python", "python", type=click.Path(path_type=Path), help="Interpreter with the peers' libraries."
)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/quality"), show_default=True)
@click.option("--run", "runs", type=click.Path(path_type=Path), multiple=True, help="A trained run; may be repeated.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of the runs.")
@click.option("--cold-items", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--features", default="", help="Item features to keep, separated by commas; all by default.")
@click.option("--shuffled", is_flag=True, help="Assign content to the wrong items, as a control.")
@click.option("--peers-only", is_flag=True, help="Fit and measure the peers only.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of a peer's fit.")
@click.option("--out", type=click.Path(path_type=Path), help="Result file.")
def main(
    data: Path, spec: Path | None, seeds: int, peer_seeds: int, peers: str | None, python: Path | None, work: Path,
    runs: tuple[Path, ...], changes: tuple[str, ...], cold_items: float, features: str, shuffled: bool, peers_only: bool,
    threads: int, out: Path | None,
) -> None:  # fmt: skip
    """Compare Triptych with tuned peers."""
    kept = tuple(features.split(",")) if features else ()
    variant = Variant(data, example_spec(data, spec), kept, cold_items, shuffled)
    try:
        result = measure(
            variant,
            work=work / variant.folder_name,
            changes=changes,
            seeds=seeds,
            peer_seeds=peer_seeds,
            peer_names=_peer_names(peers),
            python=python,
            threads=threads,
            runs=runs,
            peers_only=peers_only,
        )
    except TriptychError as error:
        click.echo(f"quality: {error}", err=True)
        sys.exit(2)
    say(markdown_table(result))
    command = command_line(
        "quality",
        f"--data DIR/{data.name} --peers-python PEERS/bin/python",
        f"--cold-items {cold_items:g}" * bool(cold_items),
        f"--features {features}" * bool(features),
        f"--peers {peers}" * bool(peers),
        "--shuffled" * shuffled,
        "--peers-only" * peers_only,
        changes=changes,
    )
    path = out or RESULTS / f"quality-{variant.folder_name}{'-peers' if peers_only else ''}.json"
    write_result(path, {"command": command, **result})


if __name__ == "__main__":
    main()
