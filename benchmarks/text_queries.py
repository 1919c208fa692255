"""Does free text find its item? One plot sentence of each film is held out, paraphrased, and asked for.

    pip install -r benchmarks/requirements-benchmarks.txt
    python -m benchmarks.text_queries --data DIR/ml1m [--work DIR] [--epochs N] [--set section.key=value ...]

The sentence is taken out of the catalogue before anything is built on it, so the model, TF-IDF and BM25 search the same
texts, none of which holds it. Two fifths of the films (by a hash of the id) tune the peers, in stemming, n-grams, k1 and b, on
the paraphrases themselves; the figures are of the other films. Queries: the sentence as it stands, without names, and
paraphrased (`benchmarks/text/paraphrase.py` says how, and `changed` how much). The kinds of terms and the defaults of section
`search` were chosen on these films too, with figures of both parts in view, so they are no untouched test. Equal scores count as in random order. Writes
`benchmarks/results/text-queries-ml1m.json`.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import platform
import re
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bm25s
import click
import numpy as np
import Stemmer
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from benchmarks.text.paraphrase import Paraphraser, changed, read_synonyms
from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.search.lexical_fit import encoder_scores, item_texts, load_or_fit_lexical
from pipelines.training import trainer as train
from tfrecs.errors import DataError
from tfrecs.schema import MANIFEST_FILE

RESULT = Path(__file__).resolve().parent / "results" / "text-queries-ml1m.json"
K = 10
logging.getLogger("bm25s").setLevel(logging.WARNING)
_SENTENCE = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])")
_SPEC = """
name: ml1m-text-queries
items:
  file: items.jsonl
  id: item_id
  title: title
  features:
    text: {kind: text, columns: [title, genres, director, actors, plot, abstract]}
    genres: {kind: categories, column: genres}
interactions: {file: interactions.tsv, user: user_id, item: item_id, order: pos}
split: {by: leave_last}
"""
Search = Callable[[Sequence[str]], np.ndarray]
"""Queries [Q] -> scores [Q, N]."""


def sentences(text: str | None) -> list[str]:
    return [part.strip() for part in _SENTENCE.split((text or "").strip()) if len(part.split()) >= 4]


def hold_out(rows: Sequence[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The items without one sentence of their plots, and position -> that sentence, for items with another one left."""
    rng = np.random.default_rng(seed)
    kept, held = [], {}
    for position, row in enumerate(rows):
        plot = sentences(row.get("plot"))
        if plot and len(plot) + len(sentences(row.get("abstract"))) >= 2:
            held[position] = plot.pop(int(rng.integers(len(plot))))
            row = {**row, "plot": " ".join(plot) or None}
        kept.append(row)
    return kept, held


def hits(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [Q]: the chance that the target is among the first K, equal scores in random order."""
    own = scores[np.arange(len(targets)), targets][:, None]
    better, equal = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    return np.clip((K - better) / equal, 0.0, 1.0)


def interval(values: np.ndarray, seed: int, draws: int = 2000) -> list[float]:
    """95 % bootstrap interval of the mean, over queries."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    return [round(float(bound), 4) for bound in np.percentile(means, [2.5, 97.5])]


def _stemmed(text: str) -> list[str]:
    stem = Stemmer.Stemmer("english").stemWord
    return [stem(word) for word in re.findall(r"(?u)\b\w\w+\b", text.lower()) if word not in ENGLISH_STOP_WORDS]


def tfidf_settings(texts: Sequence[str]) -> dict[str, Search]:
    def fitted(stemmed: bool, grams: int) -> Search:
        how = {"tokenizer": _stemmed, "token_pattern": None} if stemmed else {"stop_words": "english"}
        model = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, grams), **how)
        index = model.fit_transform(texts)
        return lambda queries: (model.transform(queries) @ index.T).toarray()

    return {
        f"{'stems' if stemmed else 'words'}, n-grams to {grams}": fitted(stemmed, grams)
        for stemmed, grams in itertools.product((False, True), (1, 2))
    }


def bm25_settings(texts: Sequence[str]) -> dict[str, Search]:
    def fitted(stemmed: bool, k1: float, b: float) -> Search:
        stemmer = Stemmer.Stemmer("english") if stemmed else None

        def tokens(lines: Sequence[str]) -> list[list[str]]:
            stop = sorted(ENGLISH_STOP_WORDS)
            return bm25s.tokenize(
                list(lines), stopwords=stop, stemmer=stemmer, return_ids=False, show_progress=False
            )  # fmt: skip

        model = bm25s.BM25(k1=k1, b=b)
        model.index(tokens(texts), show_progress=False)

        def search(queries: Sequence[str]) -> np.ndarray:
            known = [[word for word in words if word in model.vocab_dict] for words in tokens(queries)]
            return np.stack([model.get_scores(words) if words else np.zeros(len(texts)) for words in known])

        return search

    return {
        f"{'stems' if stemmed else 'words'}, k1 {k1}, b {b}": fitted(stemmed, k1, b)
        for stemmed, k1, b in itertools.product((False, True), (0.6, 0.9, 1.2, 1.6), (0.2, 0.4, 0.6, 0.75))
    }


def tuned(settings: dict[str, Search], queries: Sequence[str], targets: np.ndarray) -> tuple[str, Search]:
    """The best of the settings on these queries."""
    name = max(settings, key=lambda one: hits(settings[one](queries), targets).mean())
    return name, settings[name]


def prepare(data: Path, folder: Path, seed: int) -> dict[int, str]:
    """Writes the data set without the held-out sentences; returns these."""
    source = data / "items.jsonl"
    if not source.is_file():
        raise DataError(f"{source}: no such file; name the folder of ml1m with --data")
    kept, held = hold_out([json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()], seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    (folder / "dataset.yaml").write_text(_SPEC, encoding="utf-8")
    events = folder / "interactions.tsv"
    if not events.is_file():
        events.symlink_to((data / "interactions.tsv").resolve())
    return held


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/text-queries"), show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True, help="Of the towers.")
@click.option("--set", "changes", multiple=True, help="A further setting, section.key=value.")
def main(data: Path, work: Path, epochs: int, changes: tuple[str, ...]) -> None:
    config = load_config(None, (f"train.epochs={epochs}", *changes))
    held = prepare(data, work / "data", config.seed)
    if not (work / "records" / MANIFEST_FILE).is_file():
        build.run(build.BuildJob(work / "data", work / "records", config))
    train.run(train.TrainJob(work / "records", work / "run", config))
    folder = RunFolder(work / "run")
    session = load_trained(folder)
    texts = item_texts(session.model, session.catalogue)
    clock = time.monotonic()
    folder.lexicon.unlink()  # fitted once more, for the time that it takes
    lexical = load_or_fit_lexical(folder.lexicon, session.model, session.catalogue, config)
    fitting = time.monotonic() - clock
    dense, words = encoder_scores(session.model, config.train.encode_batch_size), lexical.index(texts)

    ids = [str(json.loads(line)["item_id"]) for line in (work / "data" / "items.jsonl").read_text().splitlines()]
    position = {item: index for index, item in enumerate(session.catalogue.ids.tolist())}
    asked = {ids[row]: sentence for row, sentence in held.items() if ids[row] in position}
    targets = np.array([position[item] for item in asked])
    tuning = np.array([zlib.crc32(item.encode()) % 10 < 4 for item in asked])
    paraphrase = Paraphraser(texts, read_synonyms())
    forms = {
        "as written": list(asked.values()),
        "without names": [paraphrase.without_names(one) for one in asked.values()],
        "paraphrased": [paraphrase(one) for one in asked.values()],
    }
    tuning_queries = [one for one, part in zip(forms["paraphrased"], tuning, strict=True) if part]
    chosen = {
        name: tuned(settings, tuning_queries, targets[tuning])
        for name, settings in {"tf-idf": tfidf_settings(texts), "bm25": bm25_settings(texts)}.items()
    }
    systems: dict[str, Search] = {name: search for name, (_, search) in chosen.items()}
    systems |= {
        "triptych": lambda queries: lexical.dense_weight * dense(queries) + words(queries),
        "triptych, words alone": words,
        "triptych, encoders alone": dense,
    }
    rows = {}
    for form, queries in forms.items():
        there = [one for one, part in zip(queries, tuning, strict=True) if not part]
        found = {name: hits(search(there), targets[~tuning]) for name, search in systems.items()}
        rows[form] = {
            "recall@10": {name: round(float(one.mean()), 4) for name, one in found.items()},
            "triptych ahead of": {
                peer: {
                    "by": round(float((found["triptych"] - found[peer]).mean()), 4),
                    "95 %": interval(found["triptych"] - found[peer], config.seed),
                }
                for peer in chosen
            },
        }
        say(f"{form}: {rows[form]}")
    shares = [
        changed(before, after, ENGLISH_STOP_WORDS)
        for before, after in zip(forms["as written"], forms["paraphrased"], strict=True)
    ]
    result = {
        "command": " ".join(
            [
                "python -m benchmarks.text_queries --data DIR/ml1m",
                f"--epochs {epochs}",
                *(f"--set {one}" for one in changes),
            ]
        ),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator",
        "items": len(texts),
        "queries": int((~tuning).sum()),
        "tuning queries": int(tuning.sum()),
        "changed": round(float(np.nanmean(shares)), 3),
        "peers": {name: setting for name, (setting, _) in chosen.items()},
        "encoders' share": round(lexical.dense_weight, 4),
        "seconds": {
            "epochs": sum(row["seconds"] for row in folder.read_metrics()),
            "lexicon": round(fitting, 1),
        },
        "queries asked": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
