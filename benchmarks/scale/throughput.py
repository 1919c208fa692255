"""Training events a second beside SASRec of RecTools (torch), with the same shapes, losses and cores.

    python -m benchmarks.scale.throughput --peers-python PEERS/bin/python [--data DIR/ml1m --data DIR/tiktok] [--losses full,sampled]

Both learn from the same training events by ids alone, with the same width, layers, heads, feed-forward width, positions and
dropout, in float32, with the same number of threads; a batch of either holds about as many targets. Long histories are cut
into pieces of that length without overlap. `full` is the softmax over all items; `sampled` has `--negatives` uniform
negatives: those of RecTools' `sampled_softmax` are drawn for each position, ours for each step, with the batch's own items
beside them. Each trains in a process of its own with its own loop and reading; rounds of the same number of targets take
turns, after one to warm up, and the median of the rounds counts. A target is a real event that is predicted: padding does
not count, nor does what is read as history again.

Without `--data` the logs are generated with the shapes of MovieLens 1M and of 9,300 users with six events each. Writes
`benchmarks/results/scale-throughput.json`, after each comparison.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.quality.heldout import load_split
from benchmarks.quality.peers.interface import TrainingData, save_training
from benchmarks.quality.variants import example_spec
from benchmarks.results_file import REPO, RESULTS, command_line, machine, write_result
from benchmarks.scale.generate import Sizes, generate
from benchmarks.scale.sasrec_rounds import cut_histories
from pipelines.building import builder as build
from pipelines.config import Config
from pipelines.runs.progress import say
from tfrecs.schema import MANIFEST_FILE
from tfrecs.spec.dataset_yaml import SPEC_FILE, load_spec, spec_to_yaml

TARGET = 1.5
GENERATED = {
    "like-ml1m": Sizes(items=3_706, events=1_000_209, users=6_040),
    "short-histories": Sizes(items=6_710, events=59_541, users=9_308),
}
LOSSES = {"full": ("full", "softmax"), "sampled": ("in_batch", "sampled_softmax")}


@dataclass(frozen=True)
class Shape:
    """What both models share.

    Attributes:
      width, layers, heads: of the Transformer; its feed-forward layers are as wide.
      length: positions of a row.
      rows: rows of our batch; the peer's has as many sequences as hold as many targets.
      negatives: uniform negatives of the sampled softmax.
      threads: of each process.
    """

    width: int
    layers: int
    heads: int
    length: int
    rows: int
    negatives: int
    threads: int

    def ours(self, loss: str) -> list[str]:
        """Our configuration: no averages of the weights, which the peer has not either."""
        return [
            f"retrieval.softmax={LOSSES[loss][0]}",
            f"retrieval.uniform_negatives={self.negatives}",
            f"user.hidden_dim={self.width}",
            f"user.intermediate_dim={self.width}",
            f"user.num_layers={self.layers}",
            f"user.num_heads={self.heads}",
            f"user.max_history={self.length}",
            f"user.stride={self.length}",
            f"train.batch_size={self.rows}",
            "train.ema_momentum=0",
        ]

    def peer(self, loss: str, batch: int) -> dict[str, Any]:
        """The parameters of the peer."""
        return {
            "factors": self.width,
            "blocks": self.layers,
            "heads": self.heads,
            "length": self.length,
            "batch": batch,
            "learning_rate": 1e-3,
            "dropout": Config().user.dropout,
            "loss": LOSSES[loss][1],
            "negatives": self.negatives,
        }


def build_ids(data: Path, out: Path) -> Path:
    """Build records of the ids alone, unless they exist."""
    if not (out / "records" / MANIFEST_FILE).is_file():
        spec = load_spec(data, example_spec(data, None))
        spec = spec.model_copy(update={"items": spec.items.model_copy(update={"features": {}})})
        out.mkdir(parents=True, exist_ok=True)
        (out / "dataset.yaml").write_text(spec_to_yaml(spec), encoding="utf-8")
        build.run(build.BuildJob(data, out / "records", Config(), out / "dataset.yaml"))
    return out / "records"


@contextmanager
def rounds_of(
    python: Path | str, module: str, arguments: Sequence[str], log: Path
) -> Iterator[Iterator[dict[str, Any]]]:
    """Start a process that trains in rounds.

    Yields:
      An iterator whose every element is the result of one more round; between two, the process waits.
    """
    environment = os.environ | {"PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(python), "-m", f"benchmarks.scale.{module}", *arguments]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, cwd=REPO, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def results() -> Iterator[dict[str, Any]]:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                errors.write(line)
                if line.startswith('{"targets"'):
                    yield json.loads(line)
                    process.stdin.write("\n")
                    process.stdin.flush()
            raise click.ClickException(f"{module} ended; see {log}")

        try:
            yield results()
        finally:
            process.terminate()
            process.communicate()


def peer_batch(training: TrainingData, length: int, targets: float) -> int:
    """The number of the peer's sequences that hold so many targets on average."""
    users, _ = cut_histories(training.users, training.items, length)
    sizes = np.bincount(users)
    return max(1, round(targets / (sizes[sizes > 1] - 1).mean()))


def compare(
    records: Path, loss: str, shape: Shape, python: Path, work: Path, *, rounds: int, targets: int
) -> dict[str, Any]:
    """Measure both on the same events, in turns."""
    training = load_split(records).training
    save_training(work / "training.npz", training)
    common = ["--threads", str(shape.threads), "--targets", str(targets)]
    changes = [part for change in shape.ours(loss) for part in ("--set", change)]
    own = ["--records", str(records.resolve()), *common, *changes]
    with rounds_of(sys.executable, "triptych_rounds", own, work / "ours.log") as ours:
        warm = next(ours)
        params = shape.peer(loss, peer_batch(training, shape.length, warm["targets"] / warm["steps"]))
        its = ["--training", str((work / "training.npz").resolve()), "--params", json.dumps(params), *common]
        with rounds_of(python, "sasrec_rounds", its, work / "sasrec.log") as peer:
            next(peer)
            rows = []
            for number in range(rounds):
                rows.append({"ours": next(ours), "sasrec": next(peer)})
                speeds = ", ".join(f"{name} {rate(row):,.0f}" for name, row in rows[-1].items())
                say(f"  round {number + 1} of {rounds}: {speeds} targets/s")
    result: dict[str, Any] = {name: summary([row[name] for row in rows]) for name in rows[0]}
    ratio = statistics.median(rate(row["ours"]) / rate(row["sasrec"]) for row in rows)
    settings = {"ours": shape.ours(loss), "sasrec": params}
    return {**result, "ratio": round(ratio, 2), "holds": ratio >= TARGET, "settings": settings}


def rate(row: dict[str, Any]) -> float:
    """Targets a second of a round."""
    return float(row["targets"] / row["seconds"])


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians over the rounds of one model."""
    return {
        "targets_per_second": round(statistics.median(map(rate, rows))),
        "targets_a_step": round(statistics.median(row["targets"] / row["steps"] for row in rows)),
        "milliseconds_a_step": round(statistics.median(1e3 * row["seconds"] / row["steps"] for row in rows), 2),
    }


def data_folders(given: Sequence[Path], work: Path) -> list[Path]:
    """The given data folders, or generated ones."""
    if given:
        return list(given)
    for name, sizes in GENERATED.items():
        if not (work / name / "data" / SPEC_FILE).is_file():
            generate(work / name / "data", sizes, "parquet")
    return [work / name / "data" for name in GENERATED]


@click.command()
@click.option("--peers-python", "python", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--data", "given", type=click.Path(path_type=Path), multiple=True, help="A data folder; may be repeated.")
@click.option("--losses", default="full,sampled", show_default=True, help="Which softmax, separated by commas.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--targets", type=click.IntRange(min=1), default=30_000, show_default=True, help="Of a round.")
@click.option("--width", type=int, default=64, show_default=True)
@click.option("--layers", type=int, default=2, show_default=True)
@click.option("--heads", type=int, default=2, show_default=True)
@click.option("--length", type=int, default=50, show_default=True)
@click.option("--rows", type=int, default=16, show_default=True, help="Rows of our batch.")
@click.option("--negatives", type=int, default=256, show_default=True)
@click.option("--threads", type=int, default=os.cpu_count() or 1, show_default="all cores")
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/throughput"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "scale-throughput.json", help="Result file.")
def main(
    python: Path, given: tuple[Path, ...], losses: str, rounds: int, targets: int, width: int, layers: int, heads: int,
    length: int, rows: int, negatives: int, threads: int, work: Path, out: Path,
) -> None:  # fmt: skip
    """Compare training events a second with a peer's."""
    for loss in losses.split(","):
        if loss not in LOSSES:
            raise click.BadParameter(f"{loss}: there are {', '.join(LOSSES)}", param_hint="--losses")
    shape = Shape(width, layers, heads, length, rows, negatives, threads)
    command = command_line(
        "scale.throughput",
        "--peers-python PEERS/bin/python",
        *(f"--data DIR/{folder.name}" for folder in given),
        f"--losses {losses} --rounds {rounds} --targets {targets}",
    )
    facts = {"machine": machine(), "peer": "RecTools SASRec", "dtype": "float32", **asdict(shape)}
    result: dict[str, Any] = {"command": command, **facts, "rounds": rounds, "target": TARGET, "measured": []}
    for data in data_folders(given, work):
        name = data.parent.name if data.name == "data" else data.name
        records = build_ids(data, work / name)
        for loss in losses.split(","):
            say(f"{name}, {loss} softmax")
            row = compare(records, loss, shape, python, work / name, rounds=rounds, targets=targets)
            say(f"  {row['ratio']:.2f} times the peer's; the target is {TARGET}")
            result["measured"].append({"data": name, "loss": loss, **row})
            write_result(out, result)  # an interrupted run keeps what it has


if __name__ == "__main__":
    main()
