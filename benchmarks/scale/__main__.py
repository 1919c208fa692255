"""The measurements of scale, one command: lists the parts with their defaults, or runs some of them.

    python -m benchmarks.scale                        what there is
    python -m benchmarks.scale all --data-dir DIR --peers-python PEERS/bin/python
    python -m benchmarks.scale step build             these, with their defaults

DIR holds the data folders ml1m and tiktok. Each part runs in a process of its own; one that fails, or that lacks what it needs,
does not keep the others from running, and is named at the end.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.results_file import REPO
from pipelines.runs.progress import say
from tfrecs.errors import SpecError


@dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
      name: of the module in `benchmarks.scale`.
      shows: in a line.
      minutes: about how long it takes alone on two cores.
      data: folders of `--data-dir` that it takes as `--data`.
      peers: whether it takes `--peers-python`.
      required: whether it cannot do without these.
    """

    name: str
    shows: str
    minutes: int
    data: tuple[str, ...] = ()
    peers: bool = False
    required: tuple[str, ...] = ()

    def arguments(self, data_dir: Path | None, python: Path | None) -> list[str]:
        """The arguments of its command. Raises SpecError where something that it cannot do without was not given."""
        given = {"--data-dir": data_dir, "--peers-python": python}
        for option in self.required:
            if given[option] is None:
                raise SpecError(f"{self.name} needs {option}")
        data = [part for name in self.data if data_dir is not None for part in ("--data", str(data_dir / name))]
        return data + (["--peers-python", str(python)] if self.peers and python is not None else [])


PARTS = (
    Part("step", "a training step at 5,000, 10^4, 10^5 and 10^6 items", 4),
    Part("build", "builds of 10^6 and 10^7 events with 10^5 items", 10),
    Part("evaluation", "ranking requests over 10^5 and 10^6 items", 6),
    Part("item_item", "item-item models: quality, time and memory", 8, data=("ml1m", "tiktok")),
    Part(
        "throughput", "training events a second beside SASRec", 10, data=("ml1m", "tiktok"), peers=True,
        required=("--peers-python",),
    ),
    Part("sampled_softmax", "sampled softmax against the full one", 30, data=("ml1m",), required=("--data-dir",)),
    Part("full_run", "every step at 10^5 items and 5 x 10^6 events, beside iALS", 75, peers=True),
)  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, metavar="[PART ...|all]")
@click.option("--data-dir", type=click.Path(path_type=Path, exists=True), help="Folder of the data folders.")
@click.option("--peers-python", "python", type=click.Path(path_type=Path, exists=True), help="The peers' interpreter.")
def main(names: tuple[str, ...], data_dir: Path | None, python: Path | None) -> None:
    """List the measurements of scale, or run them."""
    known = {part.name: part for part in PARTS}
    for name in names:
        if name not in (*known, "all"):
            raise click.BadParameter(f"{name}: there are all, {', '.join(known)}", param_hint="PART")
    if not names:
        for part in PARTS:
            takes = " ".join(["--data-dir"] * bool(part.data) + ["--peers-python"] * part.peers)
            say(f"{part.name:<16} {part.minutes:>3} min  {part.shows}" + f" (takes {takes})" * bool(takes))
        return
    failed = []
    for part in PARTS if "all" in names else [known[name] for name in names]:
        say(f"\n[{part.name}] {part.shows}")
        try:
            command = [sys.executable, "-m", f"benchmarks.scale.{part.name}", *part.arguments(data_dir, python)]
        except SpecError as error:
            say(f"left out: {error}")
            failed.append(part.name)
            continue
        if subprocess.run(command, cwd=REPO).returncode:
            failed.append(part.name)
    if failed:
        raise click.ClickException(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
