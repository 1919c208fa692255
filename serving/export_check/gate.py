"""The gate an export must pass: which ops may appear, and answers from a process that knows only TensorFlow."""

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

# Ops of TensorFlow Text 2.12.1, which TensorFlow Serving 2.12 to 2.19 bundles, that a text tower needs. The default
# trimmer of keras-nlp's packer (RoundRobinTrim) is newer and so is not here.
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

# Those of TensorFlow itself: a list, not what this TensorFlow happens to know, because a server may be older.
STOCK_OPS = frozenset(
    line for line in Path(__file__).with_name("stock_ops.txt").read_text().split("\n") if line and line[0] != "#"
)

# On the list, but nothing that a stock server runs: they call back into Python or write files.
FORBIDDEN = frozenset({"PyFunc", "EagerPyFunc", "PyFuncStateless", "WriteFile"})


@dataclass(frozen=True)
class Answers:
    """`outputs`: signature -> output -> array; `seconds` [B]: each row of the timed signature alone."""

    outputs: dict[str, dict[str, np.ndarray]]
    load_seconds: float
    seconds: np.ndarray


def unknown_ops(ops: Iterable[str]) -> list[str]:
    """Those that stock TensorFlow Serving does not have, sorted."""
    known = (STOCK_OPS | TEXT_OPS) - FORBIDDEN
    return sorted(op for op in ops if op not in known and not op.startswith("_"))


def ops_in(saved_model: Path) -> frozenset[str]:
    """Every op in the graph of a SavedModel and in its functions. Raises OSError where it cannot be read."""
    content = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    graphs = [meta_graph.graph_def for meta_graph in content.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for function in functions for node in function.node_def]
    return frozenset({node.op for node in nodes} - {function.signature.name for function in functions})


def ask_fresh_process(
    saved_model: Path, requests: Mapping[str, Mapping[str, np.ndarray]], timed: str | None = None
) -> Answers:
    """Runs each signature once, in a new process through the TensorFlow 1 style loader.

    Args:
      requests: signature -> input -> array.
      timed: a signature of which each row of the batch is run once more, alone, against the clock.

    Raises:
      RuntimeError: the process failed; the message ends with the last line it printed.
    """
    script = Path(__file__).with_name("fresh_process.py")
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "requests.npz"), Path(folder, "answers.npz")
        flat = {
            f"{signature}/{name}": value for signature, inputs in requests.items() for name, value in inputs.items()
        }
        np.savez(asked, **flat)
        # Its own folder would shadow nothing, but Python puts it first on the path; -P (3.11) is not in 3.10.
        environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, str(script), str(saved_model.resolve()), str(asked), str(answered), timed or ""]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise RuntimeError(f"a fresh process could not serve {saved_model}: {last}")
        with np.load(answered, allow_pickle=True) as content:
            outputs: dict[str, dict[str, np.ndarray]] = {}
            for key in content.files:
                signature, slash, name = key.partition("/")
                if slash:
                    outputs.setdefault(signature, {})[name] = content[key]
            return Answers(outputs, float(content["load_seconds"]), content["seconds"])
