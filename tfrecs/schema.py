"""The schema and manifest of records, on which all other packages rely.

No TensorFlow here, so that server, client and `triptych inspect` can read it without that import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from tfrecs.errors import DataError, TriptychError
from tfrecs.unix_time import doubt, request_fault

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = [
    "Addition",
    "ContextSchema",
    "FeatureSchema",
    "History",
    "LabelSchema",
    "Manifest",
    "Schema",
    "ShardInfo",
    "SplitInfo",
    "TriptychError",
    "doubt",
    "request_fault",
]

MANIFEST_FILE = "manifest.json"
VOCABULARY_FILE = "vocab.txt"
REJECTED_FILE = "rejected.jsonl"
SPLITS = ("train", "valid", "test")

FORMAT_VERSION = 1


class _SchemaModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    # Fields that are written only where they are set, so that manifests without them keep their bytes.
    optional: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value or name not in self.optional}


class FeatureSchema(_SchemaModel):
    """One feature of an item or a user.

    Attributes:
      name: the key in `dataset.yaml`, the prefix of the Example's keys, the name of the signature's input.
      kind: a row of `tfrecs.modalities.MODALITIES`.
      params: parameters of the kind (side of an image, seconds of a clip, width of a vector, vocabulary).
    """

    name: str
    kind: str
    params: dict[str, Any] = {}


class LabelSchema(_SchemaModel):
    """One output of the ranking head. `range` is (low, high) of a regression target in its own unit."""

    name: str
    task: Literal["binary", "regression"]
    range: tuple[float, float] | None = None


class ContextSchema(_SchemaModel):
    """One feature of the context of a request or event.

    `source` "time": derived in the graph from the request's time (`hour`, `weekday`, UTC); "column": an input of
    the signatures. `vocabulary` lists the values of a `categories` context, most frequent first.
    """

    name: str
    kind: Literal["categories", "number"]
    source: Literal["time", "column"]
    vocabulary: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0


class Schema(_SchemaModel):
    """Features, labels and context of a data set, over which all other packages iterate.

    Attributes:
      items: features of an item, in the order of the fusion's modality axis M.
      users: features of a user.
      labels: outputs of the ranking head, in order.
      context: context of an event.
      value_mean: mean of the event value (rating, play count, ...) over the training split.
      value_std: its standard deviation, 1.0 where the value never changes.
      has_time: events carry unix seconds.
      ordered: events have an order (time or an order column); if not, the held-out items of a user are one set.
      has_queries: events have text queries (`queries`), "" where the user typed nothing.
      has_weights: the event values are weights: above 0 of positives, below 0 of explicit negatives.
      held_out_at_least: smallest weight of a target in validation and test.
    """

    optional = frozenset({"has_queries", "has_weights", "held_out_at_least"})
    items: tuple[FeatureSchema, ...]
    users: tuple[FeatureSchema, ...] = ()
    labels: tuple[LabelSchema, ...] = ()
    context: tuple[ContextSchema, ...] = ()
    value_mean: float = 0.0
    value_std: float = 1.0
    has_time: bool = True
    ordered: bool = True
    has_queries: bool = False
    has_weights: bool = False
    held_out_at_least: float = 0.0

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the item features, in the order of the modality axis."""
        return tuple(feature.name for feature in self.items)

    def feature(self, name: str) -> FeatureSchema:
        """The item feature of that name. Raises KeyError."""
        for feature in self.items:
            if feature.name == name:
                return feature
        raise KeyError(name)


class ShardInfo(_SchemaModel):
    name: str
    records: int
    bytes: int
    sha256: str


class SplitInfo(_SchemaModel):
    """`examples` are user windows; `events` are the prediction targets in them, of which `queries` have a text query and
    `negatives` a weight below 0; times are unix seconds."""

    optional = frozenset({"queries", "negatives"})
    shards: tuple[ShardInfo, ...]
    examples: int
    events: int
    users: int
    queries: int = 0
    negatives: int = 0
    first_time: int | None = None
    last_time: int | None = None


class History(NamedTuple):
    """The events of B users, oldest first from the left, with anything behind them.

    Attributes:
      item_index: int32 [B, L], positions in the catalogue.
      values: float32 [B, L], event values (rating, play count, ...), NaN = unknown.
      times: int64 [B, L], unix seconds, 0 = unknown.
      length: int32 [B], number of events.
    """

    item_index: tf.Tensor
    values: tf.Tensor
    times: tf.Tensor
    length: tf.Tensor


Action = Literal["build", "append", "resplit"]


class Addition(_SchemaModel):
    """One entry of the manifest's history.

    Attributes:
      action: what was done; a resplit appends and splits all events anew.
      at: UTC, ISO-8601. None for a build, so that equal builds give equal bytes; the first append sets it to the
        time of the manifest file.
      items: items added.
      users: users added.
      events: split -> events added; negative where a resplit made a split smaller.
      shards: files added; empty for a build, which made all files that no later entry names.
      versions: of the packages that wrote them.
    """

    action: Action
    at: str | None = None
    items: int
    users: int
    events: dict[str, int]
    shards: tuple[str, ...] = ()
    versions: dict[str, str]


class Manifest(_SchemaModel):
    """`manifest.json`.

    Attributes:
      coverage: item feature -> share of items that have it.
      train_counts: item id -> number of positive training events, for the logQ correction and popularity. A weight does
        not change it: an event is in a batch once, whatever it counts there.
      cold_items: number of items without a single training event.
      merged: number of events that the build merged into others of the same user and item.
      rejected: reason -> number of rows and values left out, the summary of `rejected.jsonl`.
      used_in_part: reason -> number of values that were used in part.
      notes: what was read in another way than it stands in the data; one line each.
      oracle: name of the file in the records with the true preference scores, for generated data only.
      history: builds and appends, oldest first.
    """

    optional = frozenset({"merged", "notes"})
    format_version: int = FORMAT_VERSION
    name: str
    seed: int
    schema_: Schema
    item_shards: tuple[ShardInfo, ...]
    items: int
    users: int
    interactions: int
    coverage: dict[str, float]
    splits: dict[str, SplitInfo]
    train_counts: dict[str, int]
    cold_items: int
    merged: int = 0
    rejected: dict[str, int]
    used_in_part: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    versions: dict[str, str]
    protocol: str
    oracle: str | None = None
    history: tuple[Addition, ...] = ()

    @classmethod
    def load(cls, records: str | Path) -> Manifest:
        """Read `<records>/manifest.json`. Raises DataError where it does not exist or is not a manifest of this version."""
        path = Path(records) / MANIFEST_FILE
        if not path.is_file():
            raise DataError(f"{records}: no {MANIFEST_FILE} there; build the records first (triptych build)")
        try:
            manifest = cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValidationError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{path}: not a manifest of this version ({first}); build the records again") from error
        if manifest.format_version != FORMAT_VERSION:
            raise DataError(
                f"{path}: format {manifest.format_version}, this Triptych reads {FORMAT_VERSION}; build again"
            )
        return manifest

    def save(self, records: str | Path) -> None:
        """Write `<records>/manifest.json`."""
        (Path(records) / MANIFEST_FILE).write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """Return the content of the file, with keys in a fixed order, so that equal builds give equal bytes."""
        return self.model_dump_json(indent=1) + "\n"


def files_of(manifest: Manifest) -> set[str]:
    """Return the names of all files of a folder of records."""
    shards = [*manifest.item_shards, *(shard for split in manifest.splits.values() for shard in split.shards)]
    names = {shard.name for shard in shards} | {MANIFEST_FILE, REJECTED_FILE, VOCABULARY_FILE}
    return names | ({manifest.oracle} if manifest.oracle else set())
