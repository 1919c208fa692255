"""Text search: one plot sentence of each film is held out, paraphrased, and used as the query.

    pip install -r benchmarks/requirements-benchmarks.txt
    python -m benchmarks.text_queries --data DIR/ml1m [--work DIR] [--epochs N] [--set section.key=value ...]

The sentence is removed from the catalogue before anything is built, so that the model, TF-IDF and BM25 search the same texts
without it. Two fifths of the films (by a hash of the id) tune the stemming, n-grams, k1 and b of the peers on the paraphrases
themselves; the figures are of the other films. Queries are the sentence as written, without names, and paraphrased
(`benchmarks/text/paraphrase.py` describes how; `changed_fraction` measures how much). The kinds of terms and the defaults of
section `search`, those of meaning by the tuning films, were chosen here too, with figures of both parts in view, so this is no
untouched test. Ties are broken at random, in expectation. Queries that share the stem of no word with the text that answers
them, function words aside, are a slice of their own; what matches words alone finds nothing there by definition.
Writes `benchmarks/results/text-queries-ml1m.json`, with a checkpoint `text-queries-ml1m-<checkpoint>.json`.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import resource
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

from benchmarks.results_file import RESULTS, command_line, machine, write_result
from benchmarks.text.paraphrase import Paraphraser, changed_fraction, read_synonyms
from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.bootstrap import mean_interval
from pipelines.search.fitting import encoder_scores, item_texts, load_or_fit_text, text_index
from pipelines.training import trainer as train
from tfrecs.errors import DataError
from tfrecs.schema import MANIFEST_FILE

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
    """Split a text into sentences of at least four words."""
    return [part.strip() for part in _SENTENCE.split((text or "").strip()) if len(part.split()) >= 4]


def hold_out(rows: Sequence[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Remove one plot sentence of each item that has another one.

    Returns:
      The changed items, and position -> the removed sentence.
    """
    rng = np.random.default_rng(seed)
    kept, held_out = [], {}
    for position, row in enumerate(rows):
        plot = sentences(row.get("plot"))
        if plot and len(plot) + len(sentences(row.get("abstract"))) >= 2:
            held_out[position] = plot.pop(int(rng.integers(len(plot))))
            row = {**row, "plot": " ".join(plot) or None}
        kept.append(row)
    return kept, held_out


def hit_probability(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return float64 [Q], the probability that the target is among the first K with ties broken at random."""
    target_scores = scores[np.arange(len(targets)), targets][:, None]
    better, equal = (scores > target_scores).sum(axis=1), (scores == target_scores).sum(axis=1)
    return np.clip((K - better) / equal, 0.0, 1.0)


def without_common_word(queries: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Return bool [Q]: the query has words, and shares the stem of none with its answer; function words do not count."""
    asked, answered = ([set(_stemmed(text)) for text in texts] for texts in (queries, answers))
    return np.array([bool(query) and not query & answer for query, answer in zip(asked, answered, strict=True)])


def _stemmed(text: str) -> list[str]:
    stem = Stemmer.Stemmer("english").stemWord
    return [stem(word) for word in re.findall(r"(?u)\b\w\w+\b", text.lower()) if word not in ENGLISH_STOP_WORDS]


def tfidf_searches(texts: Sequence[str]) -> dict[str, Search]:
    """Fit TF-IDF with each of its settings."""

    def fit(stemmed: bool, grams: int) -> Search:
        words = {"tokenizer": _stemmed, "token_pattern": None} if stemmed else {"stop_words": "english"}
        model = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, grams), **words)
        index = model.fit_transform(texts)
        return lambda queries: (model.transform(queries) @ index.T).toarray()

    return {
        f"{'stems' if stemmed else 'words'}, n-grams to {grams}": fit(stemmed, grams)
        for stemmed, grams in itertools.product((False, True), (1, 2))
    }


def bm25_searches(texts: Sequence[str]) -> dict[str, Search]:
    """Fit BM25 with each of its settings."""

    def fit(stemmed: bool, k1: float, b: float) -> Search:
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
        f"{'stems' if stemmed else 'words'}, k1 {k1}, b {b}": fit(stemmed, k1, b)
        for stemmed, k1, b in itertools.product((False, True), (0.6, 0.9, 1.2, 1.6), (0.2, 0.4, 0.6, 0.75))
    }


def best_search(searches: dict[str, Search], queries: Sequence[str], targets: np.ndarray) -> tuple[str, Search]:
    """Return the setting with the most hits on these queries, and its search."""
    name = max(searches, key=lambda setting: hit_probability(searches[setting](queries), targets).mean())
    return name, searches[name]


def prepare(data: Path, folder: Path, seed: int) -> dict[int, str]:
    """Write the data set without the held-out sentences, and return position -> sentence."""
    source = data / "items.jsonl"
    if not source.is_file():
        raise DataError(f"{source}: no such file; name the folder of ml1m with --data")
    kept, held_out = hold_out([json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()], seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    (folder / "dataset.yaml").write_text(_SPEC, encoding="utf-8")
    events = folder / "interactions.tsv"
    if not events.is_file():
        events.symlink_to((data / "interactions.tsv").resolve())
    return held_out


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("work/text-queries"), show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True, help="Of the towers.")
@click.option("--set", "changes", multiple=True, help="A further setting, section.key=value.")
def main(data: Path, work: Path, epochs: int, changes: tuple[str, ...]) -> None:
    """Measure text search beside TF-IDF and BM25."""
    config = load_config(None, (f"train.epochs={epochs}", *changes))
    held_out = prepare(data, work / "data", config.seed)
    if not (work / "records" / MANIFEST_FILE).is_file():
        build.run(build.BuildJob(work / "data", work / "records", config))
    train.run(train.TrainJob(work / "records", work / "run", config))
    folder = RunFolder(work / "run")
    session = load_trained(folder)
    texts = item_texts(session.model, session.catalogue)
    start = time.monotonic()
    folder.lexicon.unlink()  # fitted again to measure the time
    fitted = load_or_fit_text(folder, session.model, session.catalogue, config)
    assert fitted is not None
    lexicon_seconds = time.monotonic() - start
    index = text_index(fitted, session.model, session.catalogue, config)
    towers = encoder_scores(session.model, config.train.encode_batch_size)
    words, meaning = index.lexical, index.semantic

    def encoders(queries: Sequence[str]) -> np.ndarray:
        scores = index.dense_weight * towers(queries)
        return scores if meaning is None else scores + fitted.lexical.semantic_weight * meaning(queries)

    ids = [str(json.loads(line)["item_id"]) for line in (work / "data" / "items.jsonl").read_text().splitlines()]
    position = {item: index for index, item in enumerate(session.catalogue.ids.tolist())}
    queries_by_item = {ids[row]: sentence for row, sentence in held_out.items() if ids[row] in position}
    targets = np.array([position[item] for item in queries_by_item])
    tuning = np.array([zlib.crc32(item.encode()) % 10 < 4 for item in queries_by_item])
    paraphrase = Paraphraser(texts, read_synonyms())
    forms = {
        "as written": list(queries_by_item.values()),
        "without names": [paraphrase.without_names(query) for query in queries_by_item.values()],
        "paraphrased": [paraphrase(query) for query in queries_by_item.values()],
    }
    tuning_queries = list(itertools.compress(forms["paraphrased"], tuning))
    peers = {
        name: best_search(searches, tuning_queries, targets[tuning])
        for name, searches in {"tf-idf": tfidf_searches(texts), "bm25": bm25_searches(texts)}.items()
    }
    systems: dict[str, Search] = {name: search for name, (_, search) in peers.items()}
    systems |= {
        "triptych": lambda queries: index.dense_weight * towers(queries) + index(queries),
        "triptych, words alone": words,
        "triptych, encoders alone": encoders,
    }
    rows = {}
    for form, queries in forms.items():
        test_queries = list(itertools.compress(queries, ~tuning))
        hits_by_system = {
            name: hit_probability(search(test_queries), targets[~tuning]) for name, search in systems.items()
        }
        alone = without_common_word(test_queries, [texts[target] for target in targets[~tuning]])
        rows[form] = {
            "recall@10": {name: round(float(hits.mean()), 4) for name, hits in hits_by_system.items()},
            "without a common word": {
                "queries": int(alone.sum()),
                "recall@10": {name: round(float(hits[alone].mean()), 4) for name, hits in hits_by_system.items()},
            },
            "triptych ahead of": {
                peer: {
                    "by": round(float((hits_by_system["triptych"] - hits_by_system[peer]).mean()), 4),
                    "95 %": mean_interval(hits_by_system["triptych"] - hits_by_system[peer], config.seed),
                }
                for peer in peers
            },
        }
        say(f"{form}: {rows[form]}")
    changed = [
        changed_fraction(before, after, ENGLISH_STOP_WORDS)
        for before, after in zip(forms["as written"], forms["paraphrased"], strict=True)
    ]
    result = {
        "command": command_line("text_queries", f"--data DIR/ml1m --epochs {epochs}", changes=changes),
        "machine": machine(),
        "items": len(texts),
        "queries": int((~tuning).sum()),
        "tuning queries": int(tuning.sum()),
        "changed": round(float(np.nanmean(changed)), 3),
        "peers": {name: setting for name, (setting, _) in peers.items()},
        "weights": {"towers": round(index.dense_weight, 4), "meaning": round(fitted.lexical.semantic_weight, 4)},
        "peak gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "seconds": {
            "epochs": sum(row["seconds"] for row in folder.read_metrics()),
            "lexicon": round(lexicon_seconds, 1),
        },
        "queries asked": rows,
    }
    checkpoint = "" if config.text.checkpoint is None else f"-{Path(config.text.checkpoint).name}"
    write_result(RESULTS / f"text-queries-ml1m{checkpoint}.json", result)


if __name__ == "__main__":
    main()
