"""What an export makes findable: the items with their embeddings, as they were trained or brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.item_item.cold_start import Loans, loans
from pipelines.item_item.content_features import contents
from pipelines.item_item.content_similarity import likeness
from pipelines.model.prepared_items import PreparedItems, prepare_items
from pipelines.model.session import Session
from pipelines.runs.progress import progress
from pipelines.search.lexical_index import Lexicon
from tfrecs.reading.reader import Catalogue


@dataclass(frozen=True)
class Index:
    """N items in the order of the export.

    Attributes:
      catalogue: ids, titles and content of the items.
      table: float32 [N, D], their embeddings; see `Loans.with_ids` for those of new items.
      weights: float32 [N, M], their modality weights.
      trained: int64 [N], position of each in the catalogue that the model was trained on; -1 where it was not there.
      loans: what items borrow that no training event is of.
      words: str [N], what a text query's own words are looked up in; None where items have no text.
      lexicon: what those words are worth; None where items have no text.
    """

    catalogue: Catalogue
    table: np.ndarray
    weights: np.ndarray
    trained: np.ndarray
    loans: Loans
    words: list[str] | None = None
    lexicon: Lexicon | None = None

    def __len__(self) -> int:
        return len(self.catalogue)

    def positions(self, count: int) -> np.ndarray:
        """int32 [count]: where each of the `count` trained items stands here, -1 for those that are gone."""
        result = np.full(count, -1, np.int32)
        known = self.trained >= 0
        result[self.trained[known]] = np.flatnonzero(known)
        return result


def trained_index(session: Session) -> Index:
    """The catalogue of the run, as it was trained."""
    presence = session.items.presence
    return index_with(session, presence, None, likeness_with(session, presence, None))


def likeness_with(session: Session, presence: np.ndarray, order: np.ndarray | None) -> np.ndarray | None:
    """`Session.likeness` where items have some of their content alone, or that of another item; see `index_with`. None
    where nobody asks for it: no item is new, and the run's linear model does not take content."""
    if not session.unseen.any() and (session.blend is None or not session.blend.content):
        return None
    if order is None and np.array_equal(presence, session.items.presence):
        return session.likeness
    column = {name: place for place, name in enumerate(session.manifest.schema_.modalities)}
    changed = {
        name: sp.diags(presence[:, column[name]].astype(np.float32)) @ (rows if order is None else rows[order])
        for name, rows in session.contents.items()
    }
    return likeness(changed) if changed else None


def index_with(session: Session, presence: np.ndarray, order: np.ndarray | None, alike: np.ndarray | None) -> Index:
    """The catalogue of the run, where items have some of their content alone, or that of another item.

    Args:
      presence: bool [N, M], what each item has.
      order: int64 [N], whose content each has; None: its own.
      alike: `likeness_with` of the same.
    """
    model = session.model
    encodings = dict(model.cache)
    if order is not None:
        encodings = {name: tf.gather(value, order) for name, value in encodings.items()}
    there = tf.constant(presence)
    table, weights = (value.numpy() for value in model.item_embeddings(there, encodings))
    content_only = model.content_embeddings(there, encodings)[0].numpy()
    known, new = np.flatnonzero(~session.unseen), np.flatnonzero(session.unseen)
    lent = loans(known, new, alike, content_only, session.config.hybrid)
    return Index(session.catalogue, lent.with_ids(table, content_only), weights, np.arange(len(table)), lent)


def updated_index(session: Session, catalogue: Catalogue) -> Index:
    """Another catalogue through the trained towers.

    An item of the training with the same content keeps its embedding; with new content it keeps its id embedding
    and its content is encoded anew; any other item is embedded by its content, which also foretells its id embedding.

    Args:
      catalogue: at least one item, content encoded under the run's schema.
    """
    model, items = session.model, session.items
    trained = _positions_in(session.catalogue, catalogue)
    before, now = session.catalogue.serialized.numpy(), catalogue.serialized.numpy()
    known = np.flatnonzero(trained >= 0)
    changed = known[[before[trained[row]] != now[row] for row in known]] if len(known) else known
    new = np.flatnonzero(trained < 0)

    presence = items.presence.copy()
    encodings = {name: value.numpy().copy() for name, value in model.cache.items()}
    encode = tf.function(model.encode_items)
    with progress("encoding changed items", "items") as advance:
        prepared = _prepared(session, catalogue, changed)
        presence[trained[changed]] = prepared.presence
        for rows, inputs in _batches(prepared, session.config.train.encode_batch_size):
            for name, value in encode(inputs).items():
                encodings[name][trained[changed[rows]]] = value.numpy()[: len(rows)]
            advance(int(rows[-1]) + 1, len(changed))
    there = tf.constant(presence), {name: tf.constant(value) for name, value in encodings.items()}
    table, weights = model.item_embeddings(*there)
    content_only, _ = model.content_embeddings(*there)
    width, modalities = table.shape[1], presence.shape[1]
    result = [np.zeros([len(catalogue), size], np.float32) for size in (width, modalities, width)]
    for into, rows_of in zip(result, (table, weights, content_only), strict=True):
        into[known] = rows_of.numpy()[trained[known]]

    embed = tf.function(model.embed_items)
    with progress("embedding new items", "items") as advance:
        prepared = _prepared(session, catalogue, new)
        for rows, inputs in _batches(prepared, session.config.train.encode_batch_size):
            padded = np.resize(rows, session.config.train.encode_batch_size)
            embedded, weighed = embed(inputs, tf.constant(prepared.presence[padded]))
            for into, value in zip(result, (embedded, weighed, embedded), strict=True):
                into[new[rows]] = value.numpy()[: len(rows)]
            advance(int(rows[-1]) + 1, len(new))
    seen = (trained >= 0) & ~session.unseen[trained]
    small = len(catalogue) <= session.config.hybrid.linear_items and not seen.all()
    described = contents(session.manifest.schema_, catalogue) if small else {}
    alike = likeness(described) if described else None
    lent = loans(np.flatnonzero(seen), np.flatnonzero(~seen), alike, result[2], session.config.hybrid)
    return Index(catalogue, lent.with_ids(result[0], result[2]), result[1], trained, lent)


def _positions_in(there: Catalogue, here: Catalogue) -> np.ndarray:
    """int64 [N]: the position in `there` of each item of `here`, -1 for none."""
    position = {item: index for index, item in enumerate(there.ids.tolist())}
    return np.array([position.get(item, -1) for item in here.ids.tolist()], np.int64)


def _prepared(session: Session, catalogue: Catalogue, rows: np.ndarray) -> PreparedItems:
    if not len(rows):
        return PreparedItems({}, np.zeros([0, len(session.manifest.schema_.items)], bool))
    part = Catalogue(catalogue.ids[rows], catalogue.titles[rows], tf.gather(catalogue.serialized, rows))
    return prepare_items(session.manifest.schema_, session.model.item_encoders, part, None)


def _batches(prepared: PreparedItems, size: int) -> Iterator[tuple[np.ndarray, dict[str, tf.Tensor]]]:
    """(rows of `prepared`, their inputs padded to `size`)."""
    start = 0
    for inputs, count in prepared.batches(size) if len(prepared.presence) else ():
        yield np.arange(start, start + count), inputs
        start += count
