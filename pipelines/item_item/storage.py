"""The fitted item-item model as a file beside a run, so that it is fitted once for training, evaluation and export."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.item_item.model import ItemItemModel
from pipelines.item_item.sparse_top import Links
from pipelines.runs.progress import say

__all__ = ["FILE", "fingerprint", "forget", "load_or_fit", "save"]

FILE = "item_item.npz"
_FORMAT = 2  # larger by one where the same records and settings give another model


def fingerprint(**belongs_to: Any) -> str:
    """Return a hash of what a fitted model belongs to: values that JSON can hold."""
    text = json.dumps({"format": _FORMAT, **belongs_to}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save(folder: Path, model: ItemItemModel, belongs_to: str) -> None:
    """Write `item_item.npz` whole or not at all. Where the disk is full it says so: the file only saves time."""
    arrays: dict[str, Any] = {"belongs_to": belongs_to, "last": json.dumps(dict(model.last))}
    arrays |= {"popularity": model.popularity, "is_cold": model.is_cold}
    for name, links in model.links.items():
        # Zeros stand behind the other values of a row; a short log has many.
        used = links.values != 0
        arrays |= {f"{name}.shape": links.values.shape, f"{name}.lengths": used.sum(axis=1).astype(np.int32)}
        arrays |= {f"{name}.columns": links.columns[used], f"{name}.values": links.values[used]}
    temporary = folder / f".{FILE}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, folder / FILE)
    except OSError as error:
        say(
            f"  {folder / FILE}: not written ({error.strerror}); the item-item model will be fitted again where it is needed"
        )
    finally:
        temporary.unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Remove the file, and what writers that were killed left of theirs."""
    for path in (folder / FILE, *folder.glob(f".{FILE}.*.tmp")):
        path.unlink(missing_ok=True)


def load_or_fit(folder: Path, belongs_to: str, fit: Callable[[], ItemItemModel]) -> ItemItemModel:
    """Read `item_item.npz`; where it is not there, damaged or of another model, say so, fit and write it.

    Args:
      folder: of the run.
      belongs_to: fingerprint of the records and settings.
      fit: fits the model.
    """
    path = folder / FILE
    try:
        return _read(path, belongs_to)
    except FileNotFoundError:
        reason = "not there"
    except _StaleError:
        reason = "of other records or settings"
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = f"damaged ({error})"
    say(f"  {path}: {reason}; fitting the item-item model")
    model = fit()
    save(folder, model, belongs_to)
    return model


class _StaleError(Exception):
    """The file belongs to other records or settings."""


def _read(path: Path, belongs_to: str) -> ItemItemModel:
    # A zip archive: every member has a checksum, which is compared.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        if str(file["belongs_to"]) != belongs_to:
            raise _StaleError
        names = [name.removesuffix(".shape") for name in file.files if name.endswith(".shape")]
        links = {name: _links(file, name) for name in names}
        return ItemItemModel(links, file["popularity"], file["is_cold"], json.loads(str(file["last"])))


def _links(file: Mapping[str, np.ndarray], name: str) -> Links:
    shape, lengths = tuple(file[f"{name}.shape"]), file[f"{name}.lengths"]
    used = np.arange(shape[1]) < lengths[:, None]
    links = Links(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    links.columns[used], links.values[used] = file[f"{name}.columns"], file[f"{name}.values"]
    return links
