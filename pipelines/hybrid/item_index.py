"""The items that are ranked and exported, with their embeddings: as they were trained, or another catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.item_item.cold_start import ColdStart
from pipelines.item_item.content_features import content_features
from pipelines.item_item.content_similarity import content_similarity
from pipelines.item_item.ease import EaseSettings
from pipelines.item_item.model import ItemItemModel
from pipelines.item_item.sparse_top import Links
from pipelines.item_item.storage import fingerprint
from pipelines.model.encodings import Encodings, in_order
from pipelines.model.prepared_items import CatalogueInputs, PreparedItems, prepare_items
from pipelines.model.session import Session, records_id
from pipelines.runs.progress import progress
from pipelines.search.text_index import TextIndex
from tfrecs.reading.reader import Catalogue
from towers.semantic.codes import last_codes

__all__ = ["ItemIndex", "fit_item_item", "item_item_id", "small_catalogue_content", "trained_index", "updated_index"]

# Options of section `hybrid` that the item-item model does not depend on.
_NOT_FITTED = {"explore", "simulated", "queries", "candidates", "softness"}


@dataclass(frozen=True)
class ItemIndex:
    """N items in the order of their positions.

    Attributes:
      catalogue: ids, titles and content of the items.
      item_embeddings: float32 [N, D]; of cold items with a predicted id embedding, see `ColdStart`.
      modality_weights: float32 [N, M].
      trained: int64 [N], position of each in the catalogue that the model was trained on; -1 where it was not there.
      cold_start: predicts for items without a training event.
      text_index: scores their texts for text queries; None where items have no text, and until an export adds it.
      codes: int32 [N, T], semantic IDs with last codes, all different; None for a model without a generative head.
    """

    catalogue: Catalogue
    item_embeddings: np.ndarray
    modality_weights: np.ndarray
    trained: np.ndarray
    cold_start: ColdStart
    text_index: TextIndex | None = None
    codes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.catalogue)

    def positions(self, count: int) -> np.ndarray:
        """Return int32 [count]: the position here of each of the `count` trained items, -1 for those that are missing."""
        result = np.full(count, -1, np.int32)
        is_trained = self.trained >= 0
        result[self.trained[is_trained]] = np.flatnonzero(is_trained)
        return result


def small_catalogue_content(session: Session, catalogue: Catalogue) -> dict[str, sp.csr_matrix]:
    """Read `content_features`; none where the catalogue is too large to compare every item with every other."""
    small = len(catalogue) <= session.config.hybrid.linear_items
    return content_features(session.manifest.schema_, catalogue) if small else {}


def fit_item_item(
    session: Session,
    ease: EaseSettings,
    similarity: np.ndarray | None,
    features: Mapping[str, sp.csr_matrix],
    linear: Links | None = None,
) -> ItemItemModel:
    """Fit the item-item model of the session's catalogue; its cold items are not completed.

    Args:
      session: its training events count.
      ease, similarity: see `pipelines.item_item.linear.LinearModel`.
      features: plain content of the items.
      linear: links of that model where they are fitted already.
    """
    return ItemItemModel.fit(
        session.events,
        len(session.catalogue),
        session.config.hybrid,
        ease,
        similarity,
        features,
        history=session.config.user.max_history,
        ordered=session.manifest.schema_.ordered,
        linear=linear,
    )


def item_item_id(session: Session, ease: EaseSettings) -> str:
    """Return the fingerprint of what `fit_item_item` fits: it tells whether a file of it is this session's."""
    hybrid = session.config.hybrid.model_dump(mode="json", exclude=_NOT_FITTED)
    history = session.config.user.max_history
    return fingerprint(records=records_id(session.records), hybrid=hybrid, ease=list(ease), history=history)


def trained_index(
    session: Session,
    similarity: np.ndarray | None,
    presence: np.ndarray | None = None,
    order: np.ndarray | None = None,
    is_cold: np.ndarray | None = None,
) -> ItemIndex:
    """Embed the catalogue that the model was trained on, also with some of its content only.

    Args:
      session: with a trained model.
      similarity: content similarity [N, N] of the items with that content; None: cold start by nearest embeddings.
      presence: bool [N, M], the modalities that each item shall have; None: what it has.
      order: int64 [N], the item whose content each one shall have; None: its own.
      is_cold: bool [N], items that shall be embedded as those without training events are; None: those without.
    """
    model = session.model
    is_cold = session.is_cold if is_cold is None else is_cold
    encodings = in_order(model.cache, order)
    present = tf.constant(session.items.presence if presence is None else presence)
    item_embeddings, modality_weights = (value.numpy() for value in model.item_embeddings(present, encodings))
    content_embeddings = model.content_embeddings(present, encodings)[0].numpy()
    item_embeddings = np.where(is_cold[:, None], content_embeddings, item_embeddings)
    if isinstance(model.cache, Encodings):
        model.cache.release()
    cold_start = ColdStart.fit(is_cold, similarity, content_embeddings, session.config.hybrid)
    return ItemIndex(
        session.catalogue,
        cold_start.complete_embeddings(item_embeddings, content_embeddings),
        modality_weights,
        np.arange(len(item_embeddings)),
        cold_start,
        codes=None if model.decoder is None or model.codes is None else model.codes.of_catalogue().numpy(),
    )


def updated_index(session: Session, catalogue: Catalogue) -> ItemIndex:
    """Embed another catalogue with the trained towers.

    An item of the training with the same content keeps its embedding; with other content it keeps its id embedding
    and its content is encoded anew; any other item is embedded by its content, which also predicts its id embedding.

    Args:
      session: with a trained model.
      catalogue: at least one item, content encoded under the run's schema.
    """
    model, batch = session.model, session.config.train.encode_batch_size
    trained = _positions_in(session.catalogue, catalogue)
    known, added = np.flatnonzero(trained >= 0), np.flatnonzero(trained < 0)
    differs = np.zeros(len(known), bool)
    for start in range(0, len(known), batch):
        rows = known[start : start + batch]
        differs[start : start + batch] = session.catalogue.records[trained[rows]] != catalogue.records[rows]
    changed = known[differs]

    presence = session.items.presence.copy()
    encodings = {name: np.array(value[:]) for name, value in model.cache.items()}
    encode = tf.function(model.encode_items, autograph=False)
    with progress("encoding changed items", "items") as advance:
        prepared = _prepared(session, catalogue, changed)
        presence[trained[changed]] = prepared.presence
        for rows, inputs in _batches(prepared, batch):
            for name, value in encode(inputs).items():
                encodings[name][trained[changed[rows]]] = value.numpy()[: len(rows)]
            advance(int(rows[-1]) + 1, len(changed))
    content = tf.constant(presence), {name: tf.constant(value) for name, value in encodings.items()}
    of_trained = (*model.item_embeddings(*content), model.content_embeddings(*content)[0])
    result = [np.zeros([len(catalogue), value.shape[1]], np.float32) for value in of_trained]
    for target, value in zip(result, of_trained, strict=True):
        target[known] = value.numpy()[trained[known]]

    codes = None
    if model.decoder is not None:
        codes = np.zeros([len(catalogue), session.config.item.semantic_levels], np.int32)
        codes[known] = model.content_codes(*content)[trained[known]]
    embed = tf.function(model.embed_items, autograph=False)
    with progress("embedding new items", "items") as advance:
        prepared = _prepared(session, catalogue, added)
        for rows, inputs in _batches(prepared, batch):
            present = tf.constant(prepared.presence[np.resize(rows, batch)])
            embedding, weights, codes_of_content = embed(inputs, present)
            if codes is not None:
                codes[added[rows]] = codes_of_content.numpy()[: len(rows)]
            for target, value in zip(result, (embedding, weights, embedding), strict=True):
                target[added[rows]] = value.numpy()[: len(rows)]
            advance(int(rows[-1]) + 1, len(added))
    item_embeddings, modality_weights, content_embeddings = result
    is_cold = (trained < 0) | session.is_cold[trained]
    features = small_catalogue_content(session, catalogue) if is_cold.any() else {}
    similarity = content_similarity(features) if features else None
    cold_start = ColdStart.fit(is_cold, similarity, content_embeddings, session.config.hybrid)
    completed = cold_start.complete_embeddings(item_embeddings, content_embeddings)
    if codes is not None:
        codes = _with_last_codes(codes, trained)
    return ItemIndex(catalogue, completed, modality_weights, trained, cold_start, codes=codes)


def _with_last_codes(codes: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Codes int32 [N, levels] with last codes behind them: those of the training first, so that they keep theirs."""
    order = np.argsort(np.where(trained < 0, len(trained) + trained.max(initial=0), trained), kind="stable")
    last = np.zeros([len(codes), 1], np.int32)
    last[order, 0] = last_codes(codes[order])
    return np.concatenate([codes, last], axis=1)


def _positions_in(trained: Catalogue, catalogue: Catalogue) -> np.ndarray:
    """int64 [N]: the position in `trained` of each item of `catalogue`, -1 for none."""
    position = {item: index for index, item in enumerate(trained.ids.tolist())}
    return np.array([position.get(item, -1) for item in catalogue.ids.tolist()], np.int64)


def _prepared(session: Session, catalogue: Catalogue, rows: np.ndarray) -> CatalogueInputs:
    if not len(rows):
        return PreparedItems({}, np.zeros([0, len(session.manifest.schema_.items)], bool))
    part = Catalogue(catalogue.ids[rows], catalogue.records.take(rows))
    limit = session.config.train.items_in_memory
    return prepare_items(session.manifest.schema_, session.model.item_encoders, part, limit)


def _batches(prepared: CatalogueInputs, size: int) -> Iterator[tuple[np.ndarray, dict[str, tf.Tensor]]]:
    """(rows of `prepared`, their inputs padded to `size`)."""
    start = 0
    for inputs, count in prepared.batches(size) if len(prepared.presence) else ():
        yield np.arange(start, start + count), inputs
        start += count
