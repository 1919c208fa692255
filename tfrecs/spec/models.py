"""The content of `dataset.yaml` as frozen models. No TensorFlow here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from tfrecs.modalities import kinds
from tfrecs.spec.time_notation import TimeFormat, TimeZone
from tfrecs.spec.weights import EventValues, WeightSpec
from tfrecs.tables.quoting import DEFAULT_QUOTING, Quoting
from tfrecs.unix_time import TimeNotation, TimeUnit

TIME_CONTEXT = ("hour", "weekday")
# Inputs and outputs of the serving signatures that every model has; a data set's own names stand beside them.
RESERVED_INPUTS = frozenset(
    {
        *("history_ids", "history_values", "history_times", "now", "query"),
        *("exclude_ids", "categories", "diversity", "k", "candidate_ids"),
    }
)
RESERVED_OUTPUTS = frozenset(["ids", "scores", "modality_weights", "because_ids"])
SPLIT_VALUES = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


def _named(names: Iterable[str], reserved: frozenset[str] = frozenset()) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise ValueError(
                f"the name {name!r} must be letters, digits and _ only, and begin with a letter; rename it"
            )
        if name in reserved:
            raise ValueError(f"the name {name!r} is taken by the serving signatures; rename it")


class _SpecModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureSpec(BaseModel):
    """One feature of an item or a user: its kind, where its values are, and options of the kind itself.

    Give exactly one of `column`, `columns`, and `file` with `row`. Every other key is an option of the kind, which
    checks it.

    Attributes:
      kind: a row of the table of modalities.
      column: the column with the values.
      columns: several columns, whose values are joined.
      file: a `.npy` matrix with one value in each row.
      row: the column with the row number in that matrix.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str
    column: str | None = None
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    file: str | None = None
    row: str | None = None

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in kinds():
            near = difflib.get_close_matches(kind, kinds(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown kind {kind!r}; {hint}there are {', '.join(kinds())}")
        return kind

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) != (self.row is None):
            raise ValueError("`file` (a .npy matrix) and `row` (the column with the row number) go together; give both")
        extras = [
            (key, near) for key in self.options for near in difflib.get_close_matches(key, ("column", "columns"), n=1)
        ]
        given = [key for key in ("column", "columns", "file") if getattr(self, key) is not None]
        if not given and extras:
            raise ValueError(f"unknown key {extras[0][0]!r}; did you mean {extras[0][1]!r}?")
        if len(given) != 1:
            raise ValueError(f"give exactly one of column, columns, file + row; given: {', '.join(given) or 'none'}")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The options of the kind: all keys except `kind` and those of the values' source."""
        return dict(self.model_extra or {})

    @property
    def table_columns(self) -> tuple[str, ...]:
        """The table's columns that this feature reads."""
        if self.columns is not None:
            return self.columns
        return tuple(name for name in (self.column, self.row) if name is not None)


class _TableSpec(_SpecModel):
    """A table.

    Attributes:
      encoding: of csv and tsv that are neither UTF-8 nor begin with a byte order mark, such as latin-1.
      quoting: of csv and tsv. quoted: a field that begins with a quotation mark ends with one; none: marks are characters
        like any other, and every line is a row; auto: quoted, unless the marks are not closed properly.
    """

    encoding: str | None = None
    quoting: Quoting = DEFAULT_QUOTING

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "".encode(encoding)
            except (LookupError, ValueError):
                raise ValueError(f"unknown encoding {encoding!r}; such as latin-1, cp1252, utf-16, shift_jis") from None
        return encoding


class ItemsSpec(_TableSpec):
    """The catalogue, one row per item.

    Attributes:
      file: the table, or a pattern of several.
      id: the column of the item id.
      title: the column with the title that people see.
      features: name -> feature; none: items are known by their ids alone.
    """

    file: str
    id: str
    title: str | None = None
    features: dict[str, FeatureSpec] = {}

    @field_validator("features")
    @classmethod
    def _names(cls, features: dict[str, FeatureSpec]) -> dict[str, FeatureSpec]:
        _named(features)
        return features


class UsersSpec(_TableSpec):
    """Features of users, one row per user; users without a row have none of them.

    Attributes:
      file: the table, or a pattern of several.
      id: the column of the user id.
      features: name -> feature.
    """

    file: str
    id: str
    features: dict[str, FeatureSpec] = Field(min_length=1)

    @field_validator("features")
    @classmethod
    def _names(cls, features: dict[str, FeatureSpec]) -> dict[str, FeatureSpec]:
        _named(features, RESERVED_INPUTS)
        return features


class LabelSpec(_SpecModel):
    """One task of the ranking head. Give exactly one of `at_least` and `range`.

    Attributes:
      column: the column with the value.
      values: where the column has event types: event type -> value, such as {like: 1, dislike: 0}; events of other types
        do not have the label.
      at_least: a binary task: whether the value is at least this.
      range: a regression task, in the column's own unit: smallest and largest value.
    """

    column: str
    values: EventValues | None = None
    at_least: float | None = None
    range: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        if (self.at_least is None) == (self.range is None):
            raise ValueError("give exactly one of at_least (a binary task) and range (a regression task)")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range must go from low to high, not {list(self.range)}")
        return self


class PositiveSpec(_SpecModel):
    """The events that are positives for retrieval.

    Attributes:
      column: the column with the value.
      at_least: smallest value of a positive.
    """

    column: str
    at_least: float


class InteractionsSpec(_TableSpec):
    """Events, one row each. Without `time` and `order` the order of the file counts.

    Attributes:
      file: the table, or a pattern of several.
      user: the column of the user id.
      item: the column of the item id.
      time: the column of the time: unix time or ISO-8601.
      time_unit: s, ms, us or ns: the unit of unix times.
      time_format: strptime format of the times, where they are written in another way, such as "%d/%m/%Y %H:%M".
      time_zone: IANA name, such as Europe/Berlin, of the zone of times that name none; default: UTC.
      order: the column of the order, where times are not known.
      value: the column of the event value that the user tower gets; default: that of `weight`, else of `positive`, else
        of the first label.
      query: the column with what the user typed before taking the item; empty: nothing.
      labels: name -> task of the ranking head.
      positive: which events are positives for retrieval; default: all, or those with a weight above 0.
      weight: how much each event counts, and which are explicit negatives: {column, values}, or the name of a column of
        numbers; default: all count the same.
      keep: of several events of a user with the same item only the `first` or the `last`, or the last with the `sum` of
        their weights (or values); default: all.
      context: hour and weekday, derived from the time, or columns of the table.
    """

    file: str
    user: str
    item: str
    time: str | None = None
    time_unit: TimeUnit = "s"
    time_format: TimeFormat | None = None
    time_zone: TimeZone | None = None
    order: str | None = None
    value: str | None = None
    query: str | None = None
    labels: dict[str, LabelSpec] = {}
    positive: PositiveSpec | None = None
    weight: WeightSpec | None = None
    keep: Literal["first", "last", "sum"] | None = None
    context: tuple[str, ...] = ()

    @field_validator("weight", mode="before")
    @classmethod
    def _weight_column(cls, weight: Any) -> Any:
        return {"column": weight} if isinstance(weight, str) else weight

    @model_validator(mode="after")
    def _one_notation(self) -> Self:
        keys = [key for key in ("time_unit", "time_format", "time_zone") if key in self.model_fields_set]
        if keys and self.time is None:
            raise ValueError(
                f"{keys[0]} says how times are written, but `time` names no column; give it, or none of both"
            )
        if "time_unit" in keys and self.time_format is not None:
            raise ValueError("time_unit is for unix times and time_format for written ones; give one of them")
        return self

    @field_validator("labels")
    @classmethod
    def _label_names(cls, labels: dict[str, LabelSpec]) -> dict[str, LabelSpec]:
        _named(labels, RESERVED_OUTPUTS)
        return labels

    @field_validator("context")
    @classmethod
    def _context_names(cls, context: tuple[str, ...]) -> tuple[str, ...]:
        _named(context, RESERVED_INPUTS)
        if len(set(context)) < len(context):
            raise ValueError(f"a context is named twice in {list(context)}; name each once")
        return context

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if self.weight is not None and self.value is not None:
            raise ValueError("value and weight: with weights the event value is the weight; leave `value` out")
        if self.weight is not None and self.positive is not None:
            raise ValueError("positive and weight: the positives have a weight above 0; leave `positive` out")
        if self.keep == "sum" and self.value_column is None:
            raise ValueError("keep: sum adds up weights or values, and there are none; name `weight` or `value`")
        return self

    @property
    def time_notation(self) -> TimeNotation:
        """How the times of the table are written."""
        return TimeNotation(self.time_unit, self.time_format, self.time_zone)

    @property
    def value_column(self) -> str | None:
        """The event value of the history: `value`, else the column of `weight`, of `positive`, of the first label."""
        if self.value is not None:
            return self.value
        if self.weight is not None:
            return self.weight.column
        if self.positive is not None:
            return self.positive.column
        return next((label.column for label in self.labels.values()), None)

    def from_time(self, context: str) -> bool:
        """Whether this context is derived from the event's time instead of being read from a column."""
        return context in TIME_CONTEXT and self.time is not None


class _SplitSpec(_SpecModel):
    """A split.

    Attributes:
      cold_items: share of the items, drawn at random, whose training events are removed.
    """

    cold_items: float = Field(default=0.0, ge=0.0, lt=1.0)


class TimeSplit(_SplitSpec):
    """Global in time: the oldest share of all events is train, the next valid, the newest test.

    Attributes:
      by: time.
      fractions: shares of train, valid and test, which sum to 1.
    """

    by: Literal["time"]
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)

    @field_validator("fractions")
    @classmethod
    def _shares(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(fractions) < 0 or fractions[0] == 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError(f"fractions are shares of train, valid and test that sum to 1, not {list(fractions)}")
        return fractions


class LeaveLastSplit(_SplitSpec):
    """Each user's last event is test, the one before it valid; users with fewer than 3 events are all train.

    Attributes:
      by: leave_last.
    """

    by: Literal["leave_last"]


class ColumnSplit(_SplitSpec):
    """A column of the table has the split of each event: train, valid (val, validation) or test.

    Attributes:
      by: column.
      column: that column.
    """

    by: Literal["column"]
    column: str


SplitSpec = Annotated[TimeSplit | LeaveLastSplit | ColumnSplit, Field(discriminator="by")]


class DatasetSpec(_SpecModel):
    """`dataset.yaml`.

    Attributes:
      name: of the data set: letters, digits, dot, dash and underscore.
      items: the catalogue; None: the items that the events name, known by their ids alone.
      interactions: the events.
      users: features of users, where there are any.
      split: default: by time where there is time, else leave_last.
      oracle: a file with the true preferences, for generated data only.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    items: ItemsSpec | None = None
    interactions: InteractionsSpec
    users: UsersSpec | None = None
    split: SplitSpec | None = None
    oracle: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.split, TimeSplit) and self.interactions.time is None:
            raise ValueError(
                "split by time needs interactions.time; name that column, or use {by: leave_last} or {by: column}"
            )
        both = set(self.users.features if self.users else ()) & set(self.interactions.context)
        if both:
            raise ValueError(f"{min(both)!r} is both a user feature and a context; rename the user feature")
        return self

    @property
    def effective_split(self) -> TimeSplit | LeaveLastSplit | ColumnSplit:
        """The split, with the default where the file leaves it out."""
        if self.split is not None:
            return self.split
        return TimeSplit(by="time") if self.interactions.time else LeaveLastSplit(by="leave_last")
