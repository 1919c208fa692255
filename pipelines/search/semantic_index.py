"""Search by meaning: the sentences of the items in the space of a pretrained text encoder, in Python as
`serving.graph.semantic` in the graph."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.config import SearchConfig
from pipelines.runs.progress import progress
from pipelines.search.made_queries import sentences
from towers.encoders.base import TextQueryEncoder

__all__ = ["Encode", "SemanticIndex", "SemanticModel", "fit_transform", "passages", "passages_per_item"]
__all__ += ["text_encoder", "unit"]

Encode = Callable[[Sequence[str]], np.ndarray]
"""Strings [n] -> encodings float32 [n, d]."""

_BLOCK = 1024  # queries whose cosines with all passages are held at a time


def unit(vectors: np.ndarray) -> np.ndarray:
    """Bring vectors [n, d] to length 1; zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def passages(text: str, most: int) -> list[str]:
    """Cut a text into its sentences; where there are more than `most`, neighbours are joined."""
    parts = sentences(text)
    if len(parts) <= most:
        return parts
    ends = np.linspace(0, len(parts), most + 1).round().astype(int)
    return [" ".join(parts[start:end]) for start, end in itertools.pairwise(ends)]


def passages_per_item(items: int, settings: SearchConfig) -> int:
    """How many passages an item of a catalogue may have; 0: too many items, or none wanted."""
    return min(settings.passages, settings.most_passages // max(items, 1))


def text_encoder(encoder: TextQueryEncoder, batch: int) -> Encode:
    """Make the function that encodes strings, as items' texts are, `batch` at a time and those of equal length together."""
    tokens = tf.function(encoder.preprocess, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    spec = encoder.input_spec_static
    signature = [tf.TensorSpec([None, None], spec.dtype)]
    encoded = tf.function(lambda ids: encoder(ids, training=False), input_signature=signature, autograph=False)

    def encode(strings: Sequence[str]) -> np.ndarray:
        parts = [tokens(tf.constant(list(strings[at : at + _BLOCK]))).numpy() for at in range(0, len(strings), _BLOCK)]
        ids = np.concatenate([np.zeros([0, *spec.shape], spec.dtype.as_numpy_dtype), *parts])
        lengths = (ids != 0).sum(axis=1)
        order = np.argsort(lengths, kind="stable")
        result = np.zeros([len(ids), encoder.output_dim], np.float32)
        with progress("sentences", "sentences") as advance:
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                result[rows] = encoded(tf.constant(ids[rows, : lengths[rows].max()])).numpy()
                advance(start + len(rows), len(order))
        return result

    return encode


def fit_transform(encodings: np.ndarray, power: float) -> np.ndarray:
    """Partial whitening about the origin: directions that many sentences share count less.

    Args:
      encodings: float [n, d], unit vectors.
      power: of the inverse second moment, 0 (the identity: cosines of the encoder itself) to 0.5 (all directions count the
        same).

    Returns:
      float32 [d, d], symmetric; vectors are multiplied by it from the right.
    """
    moment = encodings.T.astype(np.float64) @ encodings / max(len(encodings), 1)
    values, directions = np.linalg.eigh(moment)
    values = np.maximum(values, 1e-3 * values.mean() + 1e-12)
    scales = (values / values.mean()) ** -power
    return ((directions * scales) @ directions.T).astype(np.float32)


def _key(passage: str) -> bytes:
    return hashlib.blake2b(passage.encode(), digest_size=16).digest()


@dataclass(frozen=True)
class SemanticModel:
    """The transform of the encoder's space, and the passages of the trained catalogue in it. d dimensions.

    Attributes:
      transform: float32 [d, d].
      most: passages of an item.
      keys: bytes [U], of the different passages.
      vectors: float16 [U, d], their unit vectors.
    """

    transform: np.ndarray
    most: int
    keys: np.ndarray
    vectors: np.ndarray

    @classmethod
    def fit(cls, texts: Sequence[str], encode: Encode, settings: SearchConfig, most: int) -> SemanticModel:
        """Encode the passages of texts [N], at most `most` of each, and fit the transform to them."""
        different = list(dict.fromkeys(part for text in texts for part in passages(text, most)))
        encodings = unit(encode(different))
        transform = fit_transform(encodings, settings.whitening)
        keys = np.array([_key(part) for part in different], "S16") if different else np.zeros(0, "S16")
        return cls(transform, most, keys, unit(encodings @ transform).astype(np.float16))

    def queries(self, texts: Sequence[str], encode: Encode) -> np.ndarray:
        """Unit vectors float32 [Q, d] of queries."""
        return unit(unit(encode(texts)) @ self.transform)

    def index(self, texts: Sequence[str], encode: Encode) -> SemanticIndex:
        """Index the texts of N items, "" = none; passages that the trained catalogue lacks are encoded here."""
        cut = [passages(text, self.most) for text in texts]
        owners = np.repeat(np.arange(len(cut)), [len(parts) for parts in cut])
        flat = [part for parts in cut for part in parts]
        row = {key: number for number, key in enumerate(self.keys.tolist())}
        # As numpy returns them: it drops zero bytes at the end.
        keys = np.array([_key(part) for part in flat], "S16").tolist()
        new = list({key: part for key, part in zip(keys, flat, strict=True) if key not in row}.items())
        vectors = self.vectors
        if new:
            row |= {key: len(self.keys) + number for number, (key, _) in enumerate(new)}
            added = self.queries([part for _, part in new], encode).astype(np.float16)
            vectors = np.concatenate([vectors, added])
        rows = np.array([row[key] for key in keys], np.int64)
        return SemanticIndex(self, encode, vectors[rows].astype(np.float32), owners, len(texts))

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        temporary = path.with_name(f".{path.name}")
        np.savez(temporary, transform=self.transform, most=self.most, keys=self.keys, vectors=self.vectors)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> SemanticModel:
        """Read a file that `save` wrote."""
        with np.load(path) as file:
            return cls(file["transform"], int(file["most"]), file["keys"], file["vectors"])


@dataclass(frozen=True)
class SemanticIndex:
    """The passages of N items.

    Attributes:
      model: whose space they are in.
      encode: encodes queries.
      vectors: float32 [P, d], unit vectors.
      owners: int64 [P], the item of each, ascending.
      num_items: N.
    """

    model: SemanticModel
    encode: Encode
    vectors: np.ndarray
    owners: np.ndarray
    num_items: int

    def __call__(self, queries: Sequence[str]) -> np.ndarray:
        """Largest cosines float32 [Q, N]; 0 where negative, of items without a passage, and for a blank query."""
        return self.best(self.encoded(queries))

    def encoded(self, queries: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [Q, d] of queries, zeros of blank ones."""
        encoded = self.model.queries(queries, self.encode)
        encoded[[not query.strip() for query in queries]] = 0.0
        return encoded

    def best(self, encoded: np.ndarray) -> np.ndarray:
        """The largest cosines of encoded queries."""
        parts = [self._best(encoded[start : start + _BLOCK]) for start in range(0, len(encoded), _BLOCK)]
        return np.concatenate(parts) if parts else np.zeros([0, self.num_items], np.float32)

    def _best(self, queries: np.ndarray) -> np.ndarray:
        scores = np.zeros([len(queries), self.num_items], np.float32)
        if len(self.owners):
            starts = np.flatnonzero(np.diff(self.owners, prepend=-1))
            cosines = queries @ self.vectors.T
            scores[:, self.owners[starts]] = np.maximum(np.maximum.reduceat(cosines, starts, axis=1), 0.0)
        return scores

    def of_items(self, first: int, count: int) -> SemanticIndex:
        """Return the index of `count` items from position `first` on."""
        rows = slice(*np.searchsorted(self.owners, [first, first + count]))
        return replace(self, vectors=self.vectors[rows], owners=self.owners[rows] - first, num_items=count)

    def with_texts(self, has_text: np.ndarray, order: np.ndarray | None = None) -> SemanticIndex:
        """Return the index where only some items have a text, or each has that of another one.

        Args:
          has_text: bool [N].
          order: int64 [N], the item whose text each one has; None: its own.
        """
        donors = np.arange(self.num_items) if order is None else order
        first, last = np.searchsorted(self.owners, [donors, donors + 1])
        counts = np.where(has_text, last - first, 0)
        rows = np.concatenate([np.arange(a, a + n) for a, n in zip(first, counts, strict=True)] or [np.zeros(0, int)])
        owners = np.repeat(np.arange(self.num_items), counts)
        return replace(self, vectors=self.vectors[rows.astype(np.int64)], owners=owners)
