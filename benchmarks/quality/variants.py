"""Variants of a data set: some of its item features, items made cold, content assigned to the wrong items."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results_file import REPO
from pipelines.building import builder as build
from pipelines.config import Config
from tfrecs.errors import SpecError
from tfrecs.schema import MANIFEST_FILE
from tfrecs.spec.dataset_yaml import SPEC_FILE, load_spec, spec_to_yaml
from tfrecs.spec.models import DatasetSpec


@dataclass(frozen=True)
class Variant:
    """A data set and what is changed in it.

    Attributes:
      data: the data folder.
      spec: a dataset.yaml outside the folder, or None.
      features: item features that are kept; empty for all.
      cold_items: fraction of the items whose training events are removed.
      shuffled: permute the item features among the items.
    """

    data: Path
    spec: Path | None
    features: tuple[str, ...] = ()
    cold_items: float = 0.0
    shuffled: bool = False

    @property
    def label(self) -> str:
        """Describe the changes; "" without any."""
        parts = [*self.features, f"cold{self.cold_items:g}" if self.cold_items else "", "shuffled" * self.shuffled]
        return "-".join(part for part in parts if part)

    @property
    def folder_name(self) -> str:
        """Name of the variant in work folders and result files."""
        return "-".join(part for part in (self.data.name, self.label) if part)


def example_spec(data: Path, spec: Path | None) -> Path | None:
    """Return the given spec, or that of `examples/` with the folder's name if the folder has none itself."""
    example = REPO / "examples" / f"{data.name}.yaml"
    return spec or (example if not (data / SPEC_FILE).is_file() and example.is_file() else None)


def changed_spec(variant: Variant) -> DatasetSpec:
    """Return the spec with the variant's features and cold items. Raises SpecError for an unknown feature."""
    spec = load_spec(variant.data, variant.spec)
    features = spec.items.features
    for name in variant.features:
        if name not in features:
            raise SpecError(f"--features {name}: the items have {', '.join(features)}")
    kept = {name: features[name] for name in variant.features or features}
    items = spec.items.model_copy(update={"features": kept})
    split = spec.effective_split.model_copy(update={"cold_items": variant.cold_items})
    return spec.model_copy(update={"items": items, "split": split})


def shuffled_rows(lines: list[str], columns: set[str], seed: int) -> list[str]:
    """Permute some columns of JSON lines; the cells of these columns stay together."""
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


def build_variant(variant: Variant, work: Path, config: Config) -> Path:
    """Build the records of a variant at `work/records`, unless they exist. Raises TriptychError."""
    records, spec_file = work / "records", work / SPEC_FILE
    spec = changed_spec(variant)
    work.mkdir(parents=True, exist_ok=True)
    spec_file.write_text(spec_to_yaml(spec), encoding="utf-8")
    if not (records / MANIFEST_FILE).is_file():
        data = _shuffled_folder(variant, spec, work / "data", config.seed) if variant.shuffled else variant.data
        build.run(build.BuildJob(data, records, config, spec_file))
    return records
