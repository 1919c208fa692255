"""Write the training steps of every mode as HLO, for a compiler in another environment.

    python -m benchmarks.accelerators.write_steps FOLDER [--records RECORDS] [--set KEY=VALUE ...]

The steps are those of `triptych train`, with their optimizer and a batch of the input pipeline; without RECORDS, of the
demo's catalogue. Fails where a step has a shape that depends on its data, or a sort, or a loop that its mode does not
explain. `benchmarks/accelerators/compile_for_tpu.py` compiles the folder for a TPU and writes
`benchmarks/results/accelerators.json`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.accelerators.steps import Maker, compiled, encoder_stage_step, records_or_demo, training_step
from benchmarks.results_file import command_line
from pipelines.runs.progress import say


@dataclass(frozen=True)
class Case:
    """A step.

    Attributes:
      name: of it.
      changes: options.
      make: makes it.
      loops: while loops that its mode explains.
    """

    name: str
    changes: tuple[str, ...] = ()
    make: Maker = training_step
    loops: int = 0


FINETUNE = "train.encoders=finetune"
BFLOAT16 = "train.precision=mixed_bfloat16"
MANY = "train.fresh_items=64"
CASES = (
    Case("encoders' stage", make=encoder_stage_step),
    Case("encoders' stage, bfloat16", (BFLOAT16,), encoder_stage_step),
    Case("default"),
    Case("default, bfloat16", (BFLOAT16,)),
    Case("default, 4 parts", ("train.accumulate=4",), loops=1),
    Case("in-batch softmax", ("retrieval.softmax=in_batch",)),
    Case("finetune", (FINETUNE,)),
    Case("finetune, bfloat16", (FINETUNE, BFLOAT16)),
    Case("finetune, float16", (FINETUNE, "train.precision=mixed_float16")),
    Case("finetune, 64 items", (FINETUNE, MANY)),
    Case("finetune, 64 items, twice", (FINETUNE, MANY, "train.rematerialise=true")),
)


def check_static(hlo: str, loops: int) -> dict[str, int]:
    """Count what a compiler for accelerators does badly.

    Args:
      hlo: the text of a module.
      loops: while loops that are expected.

    Returns:
      The numbers of operations, sorts, loops and shapes with a bound in place of a size.

    Raises:
      SystemExit: there are sorts, such shapes, or other loops; the lines are printed.
    """
    lines = [line for line in hlo.splitlines() if " = " in line]

    def named(kind: str) -> list[str]:
        return [line for line in lines if re.search(rf"[}}\])] {kind}\(", line)]

    sorts, whiles = named("sort"), named("while")
    bounded = [line for line in lines if re.search(r"\[[^\]]*<=\d", line)]
    if sorts or bounded or len(whiles) != loops:
        wrong = "\n".join(line.strip()[:300] for line in (*sorts, *bounded, *whiles))
        raise SystemExit(f"the step is not static: {len(whiles)} loops, {loops} expected\n{wrong}")
    return {"operations": len(lines), "sorts": len(sorts), "loops": len(whiles), "bounded_shapes": len(bounded)}


def write(case: Case, records: Path, work: Path, folder: Path, changes: tuple[str, ...]) -> dict[str, Any]:
    """Write the HLO of a step; returns its row of `steps.json`."""
    step = case.make(records, work, (*changes, *case.changes))
    batch = next(iter(step.batches))
    compiler_ir = compiled(step, jit_compile=True).experimental_get_compiler_ir(batch)
    counts = check_static(compiler_ir(stage="hlo"), case.loops)
    file = re.sub(r"\W+", "-", case.name) + ".hlo"
    (folder / file).write_bytes(compiler_ir(stage="hlo_serialized"))
    weights = sum(int(np.prod(variable.shape)) for variable in step.model.trainable_variables)
    say(f"{case.name:<28} {weights:>10,} weights, {counts['operations']:,} operations, {counts['loops']} loops")
    return {"name": case.name, "file": file, "settings": list(case.changes), "trained_weights": weights, **counts}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--records", type=click.Path(exists=True, path_type=Path), help="Records; the default is the demo's.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option.")
@click.option("--only", multiple=True, help="Names of steps.")
def main(folder: Path, records: Path | None, changes: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Write training steps as HLO."""
    folder.mkdir(parents=True, exist_ok=True)
    with records_or_demo(records, changes) as (found, work):
        rows = [
            write(case, found, work / f"run{number}", folder, changes)
            for number, case in enumerate(CASES)
            if not only or case.name in only
        ]
    command = command_line(
        "accelerators.write_steps", "FOLDER", "--records RECORDS" if records else "", changes=changes
    )
    versions = {name: version(name) for name in ("tensorflow", "tf-keras")}
    result = {"command": command, "versions": versions, "steps": rows}
    (folder / "steps.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
