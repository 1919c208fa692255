"""Load a SavedModel as TensorFlow Serving does, run requests, and write the outputs.

Run as a script in its own process: it imports TensorFlow and TensorFlow Text and nothing of Triptych, and fails if
anything of Triptych has been imported.

    python fresh_process.py SAVED_MODEL REQUESTS.npz ANSWERS.npz TIMED

REQUESTS.npz holds arrays named `signature/input`. ANSWERS.npz gets `signature/output`, `load_seconds`, and of each row of
the signature TIMED, run on its own after a few rows for warming up, `alone/output`, and `seconds` with its time (empty if
TIMED is "").
An error is the last line of standard error.
"""

import sys
import time

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the text ops that TensorFlow Serving bundles)

OURS = ("tfrecs", "towers", "serving", "pipelines", "tensorflow_recommenders", "keras_nlp", "tensorflow_io")

WARM = 5  # rows for warming up
HEADLINE = "Graph execution error:\n\n"  # of every message of a session, before the reason


def run_rows(session, definition, inputs):  # type: ignore[no-untyped-def]
    """Run each row of a batch on its own, through a callable made once, as servers do: seconds, and output -> array."""
    call = session.make_callable(
        [info.name for info in definition.outputs.values()], [definition.inputs[name].name for name in inputs]
    )
    rows = len(next(iter(inputs.values())))
    single_rows = [[value[row : row + 1] for value in inputs.values()] for row in range(rows)]
    for row in single_rows[:WARM]:
        call(*row)
    seconds, answers = [], []
    for row in single_rows:
        started = time.perf_counter()
        answers.append(call(*row))
        seconds.append(time.perf_counter() - started)
    columns = zip(definition.outputs, zip(*answers, strict=True), strict=False)
    return seconds, {name: np.concatenate(rows) for name, rows in columns}


def main(saved_model: str, requests_file: str, answers_file: str, timed: str) -> None:
    requests: dict[str, dict[str, np.ndarray]] = {}
    for key, value in np.load(requests_file, allow_pickle=True).items():
        signature, name = key.split("/", 1)
        requests.setdefault(signature, {})[name] = value
    answers: dict[str, np.ndarray] = {}
    seconds: list[float] = []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        started = time.perf_counter()
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], saved_model)
        load_seconds = time.perf_counter() - started
        for signature, inputs in requests.items():
            definition = meta_graph.signature_def[signature]
            fetch = {name: info.name for name, info in definition.outputs.items()}
            feed = {definition.inputs[name].name: value for name, value in inputs.items()}
            try:
                outputs = session.run(fetch, feed)
            except tf.errors.OpError as error:
                reason = error.message.removeprefix(HEADLINE).partition("\n")[0]
                raise SystemExit(f"signature {signature}: {reason}") from error
            answers |= {f"{signature}/{name}": value for name, value in outputs.items()}
        if timed:
            seconds, alone = run_rows(session, meta_graph.signature_def[timed], requests[timed])
            answers |= {f"alone/{name}": value for name, value in alone.items()}
    loaded = [name for name in OURS if name in sys.modules]
    if loaded:
        raise SystemExit(f"this process imported {', '.join(loaded)}")
    np.savez(answers_file, load_seconds=load_seconds, seconds=np.array(seconds), **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
