"""Text search of a run: what is fitted to the catalogue's texts and the trained model, and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.config import Config
from pipelines.runs.progress import say
from pipelines.runs.run_folder import RunFolder
from pipelines.search.lexical_fit import DenseScorer, fit_lexical, fit_titles
from pipelines.search.semantic_index import SemanticModel, passages_per_item, text_encoder
from pipelines.search.text_index import TextIndex, TextModel
from tfrecs.reading.reader import Catalogue, item_features
from towers.two_tower import TwoTower

__all__ = ["encoder_scores", "item_texts", "load_or_fit_text", "text_index"]

_BATCH = 1024  # items whose texts are read at a time


def item_texts(model: TwoTower, catalogue: Catalogue) -> list[str]:
    """Read what text queries search: the text feature, or the titles where there is none; str [N], "" = none."""
    if model.query_encoder is None:
        return list(catalogue.titles.tolist())
    name = model.query_encoder.schema.name
    texts: list[str] = []
    for start in range(0, len(catalogue), _BATCH):
        serialized = tf.constant(catalogue.records[start : start + _BATCH])
        texts += [text.decode() for text in item_features(model.schema, serialized, only=[name])[0][name].numpy()]
    return texts


def encoder_scores(model: TwoTower, batch: int, rows: np.ndarray | None = None) -> DenseScorer:
    """Return the trained query encoder as a scorer of the trained items, `batch` queries at a time.

    Args:
      rows: int64 [N], the items; None: all.
    """
    item_embeddings = model.item_embeddings()[0]
    if rows is not None:
        item_embeddings = tf.gather(item_embeddings, rows)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def scores(queries: tf.Tensor) -> tf.Tensor:
        assert model.query_encoder is not None
        return model.scores(model.encode_query(model.query_encoder.preprocess_query(queries)), item_embeddings)

    def dense(queries: Sequence[str]) -> np.ndarray:
        parts = [tf.constant(list(queries[start : start + batch])) for start in range(0, len(queries), batch)]
        return np.concatenate([scores(part).numpy() for part in parts])

    return dense


def load_or_fit_text(run: RunFolder, model: TwoTower, catalogue: Catalogue, config: Config) -> TextModel | None:
    """Read what text search of a run has learned, or fit it to the catalogue and the trained model and write it.

    Returns:
      None where items have neither a text feature nor titles.
    """
    if run.lexicon.is_file():
        return TextModel.load(run)
    rows, texts = np.arange(len(catalogue)), None
    semantic, encode = None, None
    most = passages_per_item(len(catalogue), config.search)
    if model.query_encoder is not None and model.query_encoder.is_pretrained:
        if most:
            texts = item_texts(model, catalogue)
            encode = text_encoder(model.query_encoder, config.train.encode_batch_size)
            semantic = SemanticModel.fit(texts, encode, config.search, most)
        else:
            say("  meaning of queries: left out (search.passages, search.most_passages)")
    if len(rows) > config.search.fitted_items:
        rows = np.sort(np.random.default_rng(config.seed).choice(rows, config.search.fitted_items, replace=False))
        say(f"  words of queries: fitted to {len(rows):,} of {len(catalogue):,} items (search.fitted_items)")
        catalogue = Catalogue(catalogue.ids[rows], catalogue.records.take(rows))
    texts = item_texts(model, catalogue) if texts is None else [texts[row] for row in rows.tolist()]
    if model.query_encoder is not None:
        scores = encoder_scores(model, config.train.encode_batch_size, rows)
        meaning = semantic.index(texts, encode) if semantic is not None and encode is not None else None
        lexical = fit_lexical(texts, scores, config.search, config.seed, meaning)
    elif any(text.strip() for text in texts):
        lexical = fit_titles(texts, config.search, config.seed)
    else:
        return None
    fitted = TextModel(lexical, semantic)
    fitted.save(run)
    return fitted


def text_index(fitted: TextModel, model: TwoTower, catalogue: Catalogue, config: Config) -> TextIndex:
    """Index the texts of any catalogue."""
    encode = None
    if fitted.semantic is not None and model.query_encoder is not None:
        encode = text_encoder(model.query_encoder, config.train.encode_batch_size)
    return fitted.index(item_texts(model, catalogue), encode)
