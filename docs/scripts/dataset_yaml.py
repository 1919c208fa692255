"""The reference of `dataset.yaml`, made from the models in `tfrecs/spec/models.py`."""

from __future__ import annotations

from docstrings import default_of, kind_of, meaning, split_docstring
from pydantic import BaseModel

from tfrecs.spec import models

PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("top level", models.DatasetSpec),
    ("items", models.ItemsSpec),
    ("features.NAME", models.FeatureSpec),
    ("interactions", models.InteractionsSpec),
    ("interactions.labels.NAME", models.LabelSpec),
    ("interactions.positive", models.PositiveSpec),
    ("interactions.weight", models.WeightSpec),
    ("users", models.UsersSpec),
    ("split, by: time", models.TimeSplit),
    ("split, by: leave_last", models.LeaveLastSplit),
    ("split, by: column", models.ColumnSplit),
)


def page() -> str:
    """One table a part of the file."""
    parts = []
    for name, model in PARTS:
        prose, _ = split_docstring(model)
        rows = "\n".join(
            f"| `{key}` | {default_of(field)} | {_type(kind_of(field))} | {meaning(model, key)} |"
            for key, field in model.model_fields.items()
        )
        parts.append(f"## {name}\n\n{prose}\n\n| key | default | type | meaning |\n| --- | --- | --- | --- |\n{rows}")
    return "\n\n".join(parts)


def _type(text: str) -> str:
    """A type in which classes of the specification go by the name of their part."""
    text = text.replace("TimeSplit or LeaveLastSplit or ColumnSplit", "see `split`").replace("TimeSplit", "see `split`")
    for name, model in PARTS:
        text = text.replace(model.__name__, f"see `{name}`")
    return text
