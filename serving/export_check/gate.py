"""Export checks: allowed ops, and outputs from a process that imports nothing but TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from serving.wire.plain_path import plain_path

# The ops of TensorFlow Text 2.12.1 that a text tower needs; TensorFlow Serving 2.12 to 2.19 bundles that version. The
# default trimmer of keras-nlp's packer (RoundRobinTrim) is newer and therefore missing.
TEXT_OPS = frozenset(
    {
        "CaseFoldUTF8",
        "FastBertNormalize",
        "FastWordpieceTokenizeWithOffsets",
        "NormalizeUTF8",
        "RegexSplitWithOffsets",
        "WhitespaceTokenizeWithOffsetsV2",
        "WordpieceTokenizeWithOffsets",
    }
)

# The ops of TensorFlow 2.12, as a list, because servers may be older than the TensorFlow that is installed here.
STOCK_OPS = frozenset(
    line for line in Path(__file__).with_name("stock_ops.txt").read_text().split("\n") if line and line[0] != "#"
)

# Ops of TensorFlow that a server must not run: they call back into Python or write files.
FORBIDDEN = frozenset({"PyFunc", "EagerPyFunc", "PyFuncStateless", "WriteFile"})


@dataclass(frozen=True)
class Answers:
    """Results of a fresh process.

    Attributes:
      outputs: signature -> output -> array.
      alone: the same of the timed signature, whose rows were each run on their own; {} without one.
      load_seconds: time to load the SavedModel.
      seconds: float [B], time of each row of the timed signature on its own.
    """

    outputs: dict[str, dict[str, np.ndarray]]
    alone: dict[str, np.ndarray]
    load_seconds: float
    seconds: np.ndarray


def unknown_ops(ops: Iterable[str]) -> list[str]:
    """The ops that stock TensorFlow Serving does not have, sorted."""
    known = (STOCK_OPS | TEXT_OPS) - FORBIDDEN
    return sorted(op for op in ops if op not in known and not op.startswith("_"))


def ops_in(saved_model: Path) -> frozenset[str]:
    """The ops in the graph of a SavedModel and in its functions. Raises OSError if it cannot be read."""
    content = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    graphs = [meta_graph.graph_def for meta_graph in content.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for function in functions for node in function.node_def]
    return frozenset({node.op for node in nodes} - {function.signature.name for function in functions})


def ask_fresh_process(
    saved_model: Path, requests: Mapping[str, Mapping[str, np.ndarray]], timed: str | None = None
) -> Answers:
    """Run each signature once in a new process, with the TensorFlow 1 loader that servers use.

    Args:
      saved_model: folder of the SavedModel.
      requests: signature -> input -> array.
      timed: a signature whose rows are run again one by one to measure the time; None for none.

    Raises:
      RuntimeError: the process failed; the message ends with the last line that it printed.
    """
    script = Path(__file__).with_name("fresh_process.py")
    with tempfile.TemporaryDirectory() as folder:
        requests_file, answers_file = Path(folder, "requests.npz"), Path(folder, "answers.npz")
        flat = {
            f"{signature}/{name}": value for signature, inputs in requests.items() for name, value in inputs.items()
        }
        np.savez(requests_file, **flat)
        # Without PYTHONPATH nothing of Triptych can be imported by accident.
        environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [
            sys.executable,
            str(script),
            str(plain_path(saved_model.resolve())),
            str(requests_file),
            str(answers_file),
            timed or "",
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise RuntimeError(f"a fresh process could not serve {saved_model}: {last}")
        with np.load(answers_file, allow_pickle=True) as content:
            outputs: dict[str, dict[str, np.ndarray]] = {}
            for key in content.files:
                signature, slash, name = key.partition("/")
                if slash:
                    outputs.setdefault(signature, {})[name] = content[key]
            alone = outputs.pop("alone", {})
            return Answers(outputs, alone, float(content["load_seconds"]), content["seconds"])
