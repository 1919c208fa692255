"""The same data set asked differently: some of its item features, items made cold, content given to the wrong items."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.building import builder as build
from pipelines.config import Config
from tfrecs.errors import SpecError
from tfrecs.schema import MANIFEST_FILE
from tfrecs.spec.dataset_yaml import SPEC_FILE, load_spec, spec_to_yaml
from tfrecs.spec.models import DatasetSpec


@dataclass(frozen=True)
class Variant:
    """Attributes:
    data: the folder; `spec`: a dataset.yaml elsewhere, None: the folder's own.
    features: item features that are kept; empty: all.
    cold_items: share of the items whose training events are taken out.
    shuffled: whether the rows of the item features are dealt out among the items anew.
    """

    data: Path
    spec: Path | None
    features: tuple[str, ...] = ()
    cold_items: float = 0.0
    shuffled: bool = False

    @property
    def label(self) -> str:
        """What tells it from the plain data set; empty where nothing does."""
        parts = [*self.features, f"cold{self.cold_items:g}" if self.cold_items else "", "shuffled" * self.shuffled]
        return "-".join(part for part in parts if part)


def changed_spec(variant: Variant) -> DatasetSpec:
    """The data set's spec with the variant's features and cold items. Raises SpecError for a feature it lacks."""
    spec = load_spec(variant.data, variant.spec)
    there = spec.items.features
    for name in variant.features:
        if name not in there:
            raise SpecError(f"--features {name}: the items have {', '.join(there)}")
    kept = {name: there[name] for name in variant.features or there}
    items = spec.items.model_copy(update={"features": kept})
    split = spec.effective_split.model_copy(update={"cold_items": variant.cold_items})
    return spec.model_copy(update={"items": items, "split": split})


def shuffled_rows(lines: list[str], columns: set[str], seed: int) -> list[str]:
    """JSON lines in which the cells of those columns, together, belong to another line of the file."""
    rows = [json.loads(line) for line in lines]
    order = np.random.default_rng(seed).permutation(len(rows))
    return [
        json.dumps(row | {column: rows[other].get(column) for column in columns}, ensure_ascii=False)
        for row, other in zip(rows, order, strict=True)
    ]


def _shuffled_folder(variant: Variant, spec: DatasetSpec, out: Path, seed: int) -> Path:
    file = spec.items.file
    if not file.endswith(".jsonl"):
        raise SpecError(f"{variant.data / file}: only a .jsonl table of items can be shuffled; save it as one")
    columns = {column for feature in spec.items.features.values() for column in feature.table_columns}
    columns -= {spec.items.id}
    out.mkdir(parents=True, exist_ok=True)
    for path in variant.data.iterdir():
        link = out / path.name
        if path.name != file and not link.exists():
            os.symlink(path.resolve(), link)
    lines = (variant.data / file).read_text(encoding="utf-8").splitlines()
    (out / file).write_text("\n".join(shuffled_rows(lines, columns, seed)) + "\n", encoding="utf-8")
    return out


def records_of(variant: Variant, work: Path, config: Config) -> Path:
    """Builds the variant's records at `work/records`, or finds them there.

    Raises:
      TriptychError: the data cannot be built from.
    """
    records, spec_file = work / "records", work / SPEC_FILE
    spec = changed_spec(variant)
    work.mkdir(parents=True, exist_ok=True)
    spec_file.write_text(spec_to_yaml(spec), encoding="utf-8")
    if not (records / MANIFEST_FILE).is_file():
        data = _shuffled_folder(variant, spec, work / "data", config.seed) if variant.shuffled else variant.data
        build.run(build.BuildJob(data, records, config, spec_file))
    return records
