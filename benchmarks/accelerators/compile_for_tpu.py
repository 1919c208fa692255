"""Compile a folder of training steps with the TPU's compiler, without a TPU.

    ENVIRONMENT/bin/python benchmarks/accelerators/compile_for_tpu.py FOLDER [--topology v5e:2x2] [--out RESULT.json]

FOLDER is what `python -m benchmarks.accelerators.write_steps` wrote; ENVIRONMENT has
`benchmarks/requirements-tpu-aot.txt` (Python 3.12), and nothing of the product. libtpu compiles for the topology that a
description names. Prints and keeps, for each step, the memory that its program takes on one core, and the operations and
bytes that the compiler counts. Exit status 1 where a step is refused, with the name of the operation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # no accelerator is looked for
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nor Google's metadata server

import jax
import jaxlib
import numpy as np
from jax._src.interpreters import mlir
from jax.experimental import topologies
from jaxlib import _jax, xla_client
from jaxlib.mlir import ir

RESULT = Path(__file__).resolve().parents[1] / "results" / "accelerators.json"


# Operations that the conversion leaves in the dialect of XLA itself, which the compiler does not take, and what they mean.
REWRITTEN = (
    (re.compile(r"mhlo\.erf (%\w+) : (tensor<[^>]*>)"), r"chlo.erf \1 : \2 -> \2"),
    (re.compile(r"mhlo\.copy (%\w+) : (tensor<[^>]*>)"), r"stablehlo.reshape \1 : (\2) -> \2"),
)


def module_of(hlo: bytes) -> ir.Module:
    """Turn a serialized HLO module, as TensorFlow writes it, into StableHLO, in the context of the caller."""
    text = str(ir.Module.parse(_jax.mlir.hlo_to_stablehlo(hlo)))
    for pattern, replacement in REWRITTEN:
        text = pattern.sub(replacement, text)
    return ir.Module.parse(text)


def options_for(device: Any) -> Any:
    """Options of a program of one core."""
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id]], np.int32))
    return options


def compile_step(hlo: bytes, device: Any) -> dict[str, Any]:
    """Compile a step for one core; returns its row of the result.

    Raises:
      RuntimeError: the compiler refused it; the message is the compiler's, which names the operation.
    """
    started = time.perf_counter()
    try:
        with mlir.make_ir_context(), ir.Location.unknown():
            executable = device.client.compile(module_of(hlo), _jax.DeviceList((device,)), options_for(device))
    except Exception as error:  # whatever the compiler raises, it is the finding
        raise RuntimeError(refused(str(error))) from error
    memory, cost = executable.get_compiled_memory_stats(), executable.cost_analysis()
    return {
        "compiled_in_seconds": round(time.perf_counter() - started, 1),
        "megabytes": {
            "code": megabytes(memory.generated_code_size_in_bytes),
            "arguments": megabytes(memory.argument_size_in_bytes),
            "outputs": megabytes(memory.output_size_in_bytes),
            "temporary": megabytes(memory.temp_size_in_bytes),
        },
        "gigaflop": round(cost.get("flops", 0.0) / 1e9, 3),
        "megabytes_accessed": megabytes(cost.get("bytes accessed", 0.0)),
    }


def refused(message: str) -> str:
    """What a compiler's message says, and the operations that it names."""
    named = re.findall(r"'((?:mhlo|stablehlo|chlo|vhlo)\.[\w.]+)'|op_name=\"([^\"]+)\"", message)
    operations = ", ".join(sorted({part for names in named for part in names if part}))
    return f"{operations or 'no operation named'}: {' '.join(message.split())[:500]}"


def megabytes(size: float) -> float:
    return round(size / 1e6, 2)


def main() -> int:
    """Compile every step of the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--only", action="append", help="name of a step; the default is all")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    written = json.loads((arguments.folder / "steps.json").read_text(encoding="utf-8"))
    device = topologies.get_topology_desc(arguments.topology, platform="tpu").devices[0]
    versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "python": sys.version.split()[0]}
    result: dict[str, Any] = {
        "command": f"{written['command']} && python benchmarks/accelerators/compile_for_tpu.py FOLDER",
        "machine": "no TPU: compiled ahead of time for one core, never run",
        "topology": arguments.topology,
        "versions": {**written["versions"], **versions},
        "steps": [],
    }
    for step in written["steps"]:
        if arguments.only and step["name"] not in arguments.only:
            continue
        try:
            row = compile_step((arguments.folder / step["file"]).read_bytes(), device)
        except RuntimeError as error:
            row = {"refused": str(error)}
            print(f"{step['name']:<28} REFUSED {error}", flush=True)
        else:
            size = row["megabytes"]
            print(
                f"{step['name']:<28} code {size['code']:7.2f} MB  temporary {size['temporary']:8.2f} MB  arguments "
                f"{size['arguments']:8.2f} MB  {row['gigaflop']:8.3f} Gflop  {row['megabytes_accessed']:9.1f} MB "
                f"accessed, compiled in {row['compiled_in_seconds']} s",
                flush=True,
            )
        result["steps"].append({**step, **row})
        # After each, because a step takes a minute or two: what is there when the rest is stopped stays.
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"Results: {arguments.out}")
    return 1 if any("refused" in step for step in result["steps"]) else 0


if __name__ == "__main__":
    sys.exit(main())
