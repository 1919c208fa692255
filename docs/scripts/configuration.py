"""The reference of the configuration, made from the classes in `pipelines/config/`."""

from __future__ import annotations

from collections.abc import Iterator

from docstrings import default_of, kind_of, meaning, split_docstring
from pydantic import BaseModel

from pipelines.config import Config
from pipelines.config.renamed import RENAMED


def sections(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Dotted name and class of every section, sections within sections included."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield prefix + name, field.annotation
            yield from sections(field.annotation, f"{prefix}{name}.")


def page() -> str:
    """One table a section: option, type, default, meaning."""
    parts = [_table(Config)]
    for name, model in sections():
        parts.append(f"## `{name}` {{#{name.replace('.', '-')}}}")
        prose, _ = split_docstring(model)
        if prose:
            parts.append(prose)
        parts.append(_table(model))
    parts.append("## Earlier names\n\nThese still work, in files and with `--set`.")
    rows = [f"| `{old}` | `{new}` |" for old, new in sorted(RENAMED.items())]
    parts.append("\n".join(["| earlier name | option |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def _table(model: type[BaseModel]) -> str:
    nested = {name for name, _ in sections(model)}
    rows = [
        f"| `{name}` | {default_of(field)} | {kind_of(field)} | {_cell(meaning(model, name))} |"
        for name, field in model.model_fields.items()
        if name not in nested
    ]
    return "\n".join(["| option | default | type | meaning |", "| --- | --- | --- | --- |", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
