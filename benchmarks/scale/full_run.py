"""The whole way at 100,000 items and five million events: time and memory of each phase, and quality beside three baselines.

    python -m benchmarks.scale.full_run [--peers-python PEERS/bin/python] [--items 100000 --events 5000000 --requests 5000]
                                        [--set section.key=value ...] [--work DIR]

Generates a catalogue and a log with latent structure (`benchmarks.scale.generate`), then runs what `triptych run` does step by
step, each as its own command in its own process: check, build, one epoch of training, evaluation on a sample of the test
requests, and the export with its gate. Popularity and item-kNN are the evaluation's own; iALS (the library `implicit`, in the
peers' interpreter) learns from the same training events, is tuned on validation requests (NDCG@20) and ranks the same sample.
Wall time and the peak of resident memory are those of each process.

The result is written when a phase ends; the same command goes on after the phases that an interrupted one has finished. Writes
`benchmarks/results/scale-full-run.json`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp

from benchmarks.results_file import REPO, RESULTS, command_line, machine, write_result
from pipelines.config import load_config
from pipelines.runs.progress import say
from tfrecs.errors import DataError, SpecError, TriptychError

MEASURED = ("recall@20", "ndcg@20")
MINUTES = 60.0
NOT_COUNTED = ("generate", "peers")  # no step of `triptych run`
ALPHAS = (1.0, 10.0)  # confidence of an event in iALS beyond the 1 of every pair
VALIDATION, BATCH = 2_000, 256  # requests that iALS is tuned on, and that are ranked at a time


def run_apart(module: str, arguments: Sequence[str]) -> dict[str, float]:
    """Run `python -m module` and return its wall seconds and the peak of its resident memory.

    Raises:
      DataError: it failed; its output is above.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TF_CPP_MIN_LOG_LEVEL": "3"}
    say(f"\n$ python -m {module} {' '.join(arguments)}")
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise DataError(f"python -m {module} ended with {process.returncode}; its own line above says why")
    return {"seconds": round(time.monotonic() - started, 1), "peak_gigabytes": round(usage.ru_maxrss * 1024 / 1e9, 2)}


class Phases:
    """Runs phases once and keeps what they measured in a file.

    Args:
      path: the file.
      facts: what the result says beside the phases; those of another run start anew.
    """

    def __init__(self, path: Path, facts: dict[str, Any]):
        self.path, self.result = path, {**facts, "phases": {}}
        if path.is_file():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            if {name: earlier.get(name) for name in facts} == facts:
                self.result = earlier

    def run(self, name: str, out: Path | None, work: Callable[[], dict[str, Any]]) -> None:
        """Run a phase, unless the file has it and `out`, what it writes, is still there."""
        if name in self.result["phases"] and (out is None or out.exists()):
            say(f"{name}: done before")
            return
        self.result["phases"][name] = work()
        say(f"{name}: {self.result['phases'][name]}")
        self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        temporary = self.path.with_name(f".{self.path.name}")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self.path)


def peers_on(records: Path, work: Path, python: Path, requests: int | None, seed: int, threads: int) -> dict[str, Any]:
    """Tune and measure iALS on the requests that the evaluation took; and popularity, by which one sees that they are those."""
    from benchmarks.quality.fit_cache import FitCache
    from benchmarks.quality.heldout import DEPTH, load_split
    from benchmarks.quality.peers.table import grid, peers_named
    from benchmarks.quality.tuning import tune_peers
    from pipelines.evaluation.baselines import popularity_scorer
    from pipelines.scoring import metrics

    started = time.monotonic()
    limits = {"valid": VALIDATION} | ({} if requests is None else {"test": requests})
    split = load_split(records, limits=limits, seed=seed, with_content=False)
    queries, num_items = split.queries["test"], split.training.num_items

    def measured(ranking: metrics.Ranking) -> dict[str, float]:
        values = metrics.accuracy(ranking, queries)
        return {name: values[name] for name in MEASURED}

    counts = np.bincount(split.training.items, minlength=num_items)  # repeated events count, as in the evaluation
    popular = popularity_scorer(sp.csr_matrix(counts))
    popularity = measured(metrics.rank(popular, queries, num_items=num_items, depth=DEPTH, batch=BATCH))
    points = grid(alpha=ALPHAS, factors=(64,), regularization=(1.0,), iterations=(15,))
    peer = replace(peers_named(["ials"])[0], grid=points)
    tuned, skipped = tune_peers([peer], split, FitCache(split, work, python, threads), [seed])
    if skipped:
        raise SpecError(f"iALS: {skipped['ials']}")
    best = tuned["ials"]["all"]
    return {
        "seconds": round(time.monotonic() - started, 1),
        "requests": len(queries),
        "popularity": popularity,
        "ials": measured(metrics.Ranking(best.lists[0], num_items)),
        "ials_params": dict(best.params),
        "ials_fit_seconds": round(best.seconds, 1),
    }


def quality_of(report: Path, peers: dict[str, Any] | None) -> dict[str, dict[str, float]]:
    """Return model -> Recall@20 and NDCG@20, of the evaluation's report and of iALS.

    Raises:
      DataError: the evaluation and iALS were not measured on the same requests.
    """
    content = json.loads(report.read_text(encoding="utf-8"))
    systems = {"triptych": content["model"], **content["baselines"]}
    towers = content["slices"].get("towers_alone")
    if towers is not None:
        systems["triptych, towers alone"] = towers
    quality = {name: {key: round(values[key], 5) for key in MEASURED} for name, values in systems.items()}
    if peers is not None:
        given = peers["popularity"]
        for key in MEASURED:
            if not math.isclose(given[key], content["baselines"]["popularity"][key], abs_tol=1e-9):
                raise DataError(
                    f"popularity has {key} {content['baselines']['popularity'][key]} in {report} and {given[key]} beside iALS: "
                    "not the same requests; see --limit-option"
                )
        quality["ials"] = {key: peers["ials"][key] for key in MEASURED}
    return quality


def bars(result: dict[str, Any]) -> dict[str, Any]:
    """The minutes of the steps of `triptych run`, and whether the model is ahead of each baseline in Recall@20."""
    counted = [row["seconds"] for name, row in result["phases"].items() if name not in NOT_COUNTED]
    minutes = sum(counted) / 60
    own = result["quality"]["triptych"]["recall@20"]
    rivals = {
        name: round(own / max(row["recall@20"], 1e-9), 3)
        for name, row in result["quality"].items()
        if name in ("popularity", "ials") or name.startswith("item_knn")
    }
    return {
        "minutes": round(minutes, 1),
        "minutes_target": MINUTES,
        "in_time": minutes <= MINUTES,
        "recall_against": rivals,
        "ahead": all(ratio > 1 for ratio in rivals.values()),
        "not_measured": [] if "ials" in rivals else ["ials: give --peers-python"],
    }


def check_limit(option: str, requests: int) -> tuple[str, ...]:
    """The setting that limits the evaluation's requests. Raises SpecError where this version has no such option."""
    if not option:
        return ()
    setting = f"{option}={requests}"
    try:
        load_config(None, (setting,))
    except TriptychError as error:
        raise SpecError(f"{error}; name the option that bounds the evaluation's requests, or '' to rank all, with "
                        "--limit-option") from error  # fmt: skip
    return (setting,)


@click.command()
@click.option("--items", type=click.IntRange(10), default=100_000, show_default=True)
@click.option("--events", type=click.IntRange(100), default=5_000_000, show_default=True)
@click.option("--requests", type=click.IntRange(1), default=5_000, show_default=True, help="Of the evaluation.")
@click.option(
    "--limit-option", default="evaluate.max_requests", show_default=True, help="Option that sets them; '': rank all."
)
@click.option(
    "--peers-python", "python", type=click.Path(path_type=Path, exists=True), help="Interpreter with implicit."
)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Of iALS's numerical libraries.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option of the run.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/full-run"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "scale-full-run.json", help="Result file.")
def main(
    items: int, events: int, requests: int, limit_option: str, python: Path | None, threads: int,
    changes: tuple[str, ...], work: Path, out: Path,
) -> None:  # fmt: skip
    """Run every step on a generated catalogue."""
    try:
        measure(items, events, requests, limit_option, python, threads, changes, work, out)
    except TriptychError as error:
        click.echo(f"full_run: {error}", err=True)
        sys.exit(2)


def measure(
    items: int,
    events: int,
    requests: int,
    limit_option: str,
    python: Path | None,
    threads: int,
    changes: Sequence[str],
    work: Path,
    out: Path,
) -> dict[str, Any]:
    """Run the phases that the result file lacks, and complete it. Raises TriptychError."""
    limit = check_limit(limit_option, requests)
    settings = ["train.epochs=1", *limit, *changes]
    command = command_line(
        "scale.full_run",
        "--peers-python PEERS/bin/python",
        f"--items {items} --events {events} --requests {requests}",
        f"--limit-option '{limit_option}'" * (limit_option != "evaluate.max_requests"),
        changes=changes,
    )
    facts = {"command": command, "machine": machine(), "items": items, "events": events, "requests": requests}
    folder = work / f"{items}-{events}"
    data, records, run, model = (folder / name for name in ("data", "records", "run", "model"))
    phases = Phases(out, facts)

    def command_of(name: str, arguments: Sequence[str], target: Path, finished: Path) -> None:
        def start() -> dict[str, Any]:
            if target.exists() and name not in phases.result["phases"]:
                shutil.rmtree(target)  # of an interrupted phase, whose time would not be that of the whole
            return run_apart(name if "." in name else f"pipelines.{name}", arguments)

        phases.run(name.rpartition(".")[2], finished, start)

    given = [part for setting in settings for part in ("--set", setting)]
    sizes = ["--items", str(items), "--events", str(events)]
    command_of("benchmarks.scale.generate", ["--out", str(data), *sizes], data, data / "dataset.yaml")
    phases.run("check", None, lambda: run_apart("pipelines.build", ["--data", str(data), "--check", *given]))
    command_of("build", ["--data", str(data), "--out", str(records), *given], records, records / "manifest.json")
    command_of("train", ["--records", str(records), "--out", str(run), *given], run, run / "metrics.jsonl")
    reports = run / "reports"
    command_of("evaluate", ["--run", str(run)], reports, reports / "report.json")
    command_of("export", ["--run", str(run), "--to", str(model)], model, model)
    if python is not None:
        count = requests if limit else None
        seed = load_config(None, tuple(settings)).seed
        phases.run("peers", None, lambda: peers_on(records, folder / "peers", python, count, seed, threads))
    peers = phases.result["phases"].get("peers")
    phases.result["quality"] = quality_of(reports / "report.json", peers)
    phases.result["bars"] = bars(phases.result)
    write_result(out, phases.result)
    for name, row in sorted(phases.result["quality"].items(), key=lambda pair: -pair[1]["recall@20"]):
        say(f"{name:<24} Recall@20 {row['recall@20']:.4f}  NDCG@20 {row['ndcg@20']:.4f}")
    say(f"{phases.result['bars']}")
    return phases.result


if __name__ == "__main__":
    main()
