"""The encodings of the catalogue: of a large one computed in a stream, kept in a memory-mapped file of float16, read by rows."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.cluster.workers import Workers
from pipelines.model.encoder_weights import encoder_options
from pipelines.model.encodings import Encodings
from pipelines.model.prepared_items import CatalogueInputs
from pipelines.runs.progress import Advance, progress, say
from pipelines.runs.run_folder import write_text
from tfrecs.errors import DataError
from towers.encoders.base import Encoder
from towers.two_tower import TwoTower

__all__ = ["EncodingStore"]

Encode = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]
"""`tf.function(model.encode_items)`, made once by the caller so that it is traced once."""

_SAMPLE = 2048  # items whose mean and deviation say what the numbers of the file are relative to
_LARGEST = 60_000.0  # of a float16 that is not infinite, nearly
_PIECE = 1 << 24  # bytes


class _Statistics:
    """Mean and standard deviation of rows that come in parts (Chan, Golub and LeVeque, 1979)."""

    def __init__(self, dim: int):
        self.count, self.mean, self._squares = 0, np.zeros(dim), np.zeros(dim)

    def add(self, rows: np.ndarray) -> None:
        """Take rows float [R, dim]."""
        if not len(rows):
            return
        rows = rows.astype(np.float64)
        count, mean = self.count + len(rows), rows.mean(axis=0)
        shift = mean - self.mean
        self._squares += ((rows - mean) ** 2).sum(axis=0) + shift**2 * (self.count * len(rows) / count)
        self.mean += shift * (len(rows) / count)
        self.count = count

    @property
    def deviation(self) -> np.ndarray:
        return np.sqrt(self._squares / max(self.count, 1))


class EncodingStore:
    """The folder where the encodings of a run lie. One file at a time: that of the newest weights.

    A file is written under another name, and its description after it, so that only a whole one is ever found. It is named
    by the records and the encoders' weights: `evaluate` and `export` need not compute what `train` has.

    Args:
      folder: is made when it is needed.
      records_id: names the content of the records.
      workers: of which the chief writes here, and the others where they do not see its file into a temporary folder.
    """

    def __init__(self, folder: Path, records_id: str, workers: Workers | None = None):
        self.folder, self._records_id = folder, records_id
        self._workers = Workers() if workers is None else workers
        self._own: tempfile.TemporaryDirectory[str] | None = None

    def fill(self, model: TwoTower, encode: Encode, items: CatalogueInputs, batch: int) -> None:
        """Give a model the encodings of the catalogue as its encoders are now, and their statistics.

        Args:
          model: whose cache and statistics are replaced. Only where its cache is no variables there is a file.
          encode: see `Encode`.
          items: the catalogue.
          batch: items at a time.

        Raises:
          DataError: the disk is full.
        """
        if not model.item_encoders:
            return
        if model.stores_encodings:
            parts: dict[str, list[np.ndarray]] = {name: [] for name in model.item_encoders}
            for inputs, count in items.batches(batch):
                for name, encoding in encode(inputs).items():
                    parts[name].append(encoding.numpy()[:count])
            model.fill_cache({name: np.concatenate(values) for name, values in parts.items()})
            return
        key = self._key(model.item_encoders)

        def made(folder: Path) -> bool:
            if _opened(folder, key) is None:
                _write(folder, key, model.item_encoders, encode, items, batch)
            return True

        self._workers.from_chief(lambda: made(self.folder))
        found = _opened(self.folder, key, check=False)
        if found is None:  # of another worker, on another machine
            self._own = self._own or tempfile.TemporaryDirectory()
            made(Path(self._own.name))
            found = _opened(Path(self._own.name), key, check=False)
            assert found is not None
        model.cache, center, spread = found
        for name in model.item_encoders:
            model.center[name].assign(center[name])
            model.spread[name].assign(spread[name])

    def fill_statistics(self, model: TwoTower, encode: Encode, items: CatalogueInputs, batch: int) -> None:
        """Give a model, whose encoders will change before the encodings are needed, their statistics.

        Where its cache is variables it is filled too; else a sample of the catalogue is encoded.
        """
        if model.stores_encodings:
            self.fill(model, encode, items, batch)
            return
        for name, statistics in _of_sample(model.item_encoders, encode, items, batch).items():
            if statistics.count > 1:
                model.center[name].assign(statistics.mean)
                model.spread[name].assign(statistics.deviation + 1e-4)

    def _key(self, encoders: Mapping[str, Encoder]) -> str:
        digest = hashlib.sha256(f"1 {self._records_id} {json.dumps(encoder_options(encoders))}".encode())
        for encoder in encoders.values():
            for variable in encoder.variables:
                if variable.dtype.is_floating:
                    digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
        return digest.hexdigest()[:32]


def _of_sample(
    encoders: Mapping[str, Encoder], encode: Encode, items: CatalogueInputs, batch: int
) -> dict[str, _Statistics]:
    """Statistics of items that lie evenly over the catalogue."""
    count = len(items.presence)
    statistics = {name: _Statistics(encoder.output_dim) for name, encoder in encoders.items()}
    sample = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(np.int64))
    for start in range(0, len(sample), batch):
        rows = sample[start : start + batch]
        encoded = encode(items.rows(tf.constant(np.resize(rows, batch))))
        for column, name in enumerate(encoders):
            statistics[name].add(encoded[name].numpy()[: len(rows)][items.presence[rows, column]])
    return statistics


def _write(
    folder: Path, key: str, encoders: Mapping[str, Encoder], encode: Encode, items: CatalogueInputs, batch: int
) -> None:
    """Compute the encodings and write them. Files of other weights are deleted first. Raises DataError."""
    count, dims = len(items.presence), {name: encoder.output_dim for name, encoder in encoders.items()}
    size = 2 * count * sum(dims.values())
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob("*.f16"), *folder.glob("*.json"), *folder.glob(".*.tmp")):
        path.unlink()
    full = DataError(
        f"{folder}: no room for the encodings of {count:,} items, {size / 1e6:,.0f} MB; make some there, or name a folder "
        "on another disk with --set train.encodings_folder=DIR, and run the same command again: what is finished is kept"
    )
    if shutil.disk_usage(folder).free < size:
        raise full
    sample = _of_sample(encoders, encode, items, batch)
    offset = {name: own.mean.astype(np.float32) for name, own in sample.items()}
    scale = {name: (own.deviation + 1e-4).astype(np.float32) for name, own in sample.items()}
    statistics = {name: _Statistics(dim) for name, dim in dims.items()}
    temporary, checksum, done = folder / f".{key}.tmp", 0, 0
    try:
        with progress("encoding items", "items") as advance, temporary.open("wb") as file:
            for inputs, size_of_batch in items.batches(batch):
                rows = slice(done, done + size_of_batch)
                parts = []
                for column, (name, encoding) in enumerate(encode(inputs).items()):
                    values = encoding.numpy()[:size_of_batch]
                    statistics[name].add(values[items.presence[rows, column]])
                    relative = (values - offset[name]) / scale[name]
                    parts.append(np.clip(relative, -_LARGEST, _LARGEST).astype(np.float16))
                content = np.concatenate(parts, axis=1).tobytes()
                checksum = zlib.crc32(content, checksum)
                file.write(content)
                done += size_of_batch
                advance(done, count)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{key}.f16")
        write_text(folder / f"{key}.json", json.dumps(_described(count, checksum, offset, scale, statistics)))
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        raise


def _described(
    count: int,
    checksum: int,
    offset: Mapping[str, np.ndarray],
    scale: Mapping[str, np.ndarray],
    statistics: Mapping[str, _Statistics],
) -> dict[str, Any]:
    """What lies beside a file; the statistics are as of a catalogue in memory, see `towers.encoding_cache.fill`."""
    center = {name: own.mean if own.count > 1 else 0.0 * own.mean for name, own in statistics.items()}
    spread = {name: own.deviation + 1e-4 if own.count > 1 else 1.0 + 0.0 * own.mean for name, own in statistics.items()}
    parts = {"offset": offset, "scale": scale, "center": center, "spread": spread}
    lists = {part: {name: value.tolist() for name, value in values.items()} for part, values in parts.items()}
    return {"items": count, "checksum": checksum, **lists}


def _opened(
    folder: Path, key: str, check: bool = True
) -> tuple[Encodings, dict[str, np.ndarray], dict[str, np.ndarray]] | None:
    """The encodings with their mean and deviation; None where there is no file, or (it is said) a damaged one.

    Args:
      check: whether its checksum is computed; else only its size is looked at.
    """
    description, path = folder / f"{key}.json", folder / f"{key}.f16"
    if not description.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
        offset, scale, center, spread = (
            {name: np.array(values, np.float32) for name, values in content[key].items()}
            for key in ("offset", "scale", "center", "spread")
        )
        shape = (content["items"], sum(map(len, offset.values())))
        whole = path.is_file() and path.stat().st_size == 2 * shape[0] * shape[1]
        if whole and check:
            with progress("reading encodings", "MB") as advance:
                whole = _checksum(path, advance) == content["checksum"]
    except (ValueError, KeyError, AttributeError):
        whole = False
    if not whole:
        say(f"warning: {path}: damaged, so that the encodings are computed again")
        return None
    return Encodings(np.memmap(path, np.float16, "r", shape=shape), offset, scale), center, spread


def _checksum(path: Path, advance: Advance) -> int:
    checksum, done, total = 0, 0, path.stat().st_size
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
            done += len(piece)
            advance(done // 1_000_000, total // 1_000_000)
    return checksum
