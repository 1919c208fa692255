"""A run folder: `config.yaml`, `run.json`, checkpoints, TensorBoard logs, `metrics.jsonl` and reports."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import Config, load_config
from tfrecs.errors import DataError
from tfrecs.schema import Manifest

TRAIN, PRETRAIN = "train", "pretrain"  # steps that write one
CONFIG_FILE, RUN_FILE, METRICS_FILE = "config.yaml", "run.json", "metrics.jsonl"


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / CONFIG_FILE

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def lexicon(self) -> Path:
        return self.path / "lexicon.npz"

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    def create(self, records: Path, config: Config, records_id: str, step: str = TRAIN) -> bool:
        """Makes the folder, or opens the one that is there. Returns whether there is something to continue.

        Raises:
          DataError: the folder holds a run of another step, other records or another configuration.
        """
        manifest = Manifest.load(records)
        description = {
            "step": step,
            "records": str(records.resolve()),
            "records_id": records_id,
            "items": manifest.items,
            "item_shards": [shard.sha256 for shard in manifest.item_shards],
            "schema": schema_id(manifest),
        }
        if (self.path / RUN_FILE).is_file():
            there = self.described()
            if there.get("step", "train") != step:
                raise DataError(f"{self.path}: a run of triptych {there['step']}; give --out a new folder")
            if there["records_id"] != records_id:
                raise DataError(f"{self.path}: a run on other records ({there['records']}); give --out a new folder")
            # By value: an option that came later has its default in an older run.
            if load_config(self.config_file) != config:
                raise DataError(
                    f"{self.path}: a run with another configuration; give --out a new folder or delete this one"
                )
            write_text(self.path / RUN_FILE, json.dumps(description, indent=1) + "\n")
            return (self.path / METRICS_FILE).is_file()
        if self.path.exists() and any(self.path.iterdir()):
            raise DataError(f"{self.path}: not empty and not a run of ours; give --out a new folder")
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config_file, config.to_yaml())
        write_text(self.path / RUN_FILE, json.dumps(description, indent=1) + "\n")
        return False

    def described(self) -> dict[str, Any]:
        """What `run.json` says of the records: `items`, `item_shards` (checksums), `schema` and more."""
        return json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))

    def load(self, step: str = TRAIN) -> tuple[Path, Config]:
        """The records and configuration of a run. Raises DataError where there is no finished epoch of that step."""
        if not (self.path / RUN_FILE).is_file():
            raise DataError(f"{self.path}: no run there; {step} first (triptych {step} --out {self.path})")
        there = self.described().get("step", "train")
        if there != step:
            raise DataError(f"{self.path}: a run of triptych {there}; name one of triptych {step}")
        if not self.best.is_dir():
            raise DataError(f"{self.path}: the run has no finished epoch yet; continue it with triptych {step}")
        records = Path(self.described()["records"])
        if not records.is_dir():
            raise DataError(f"{records}: the records that {self.path} was trained on are gone; build them again there")
        return records, load_config(self.config_file)

    def read_metrics(self) -> list[dict[str, Any]]:
        """One dictionary per finished epoch."""
        path = self.path / METRICS_FILE
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replaces `metrics.jsonl` as a whole, so that it never has half a line."""
        write_text(self.path / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def schema_id(manifest: Manifest) -> str:
    """A hash of the schema: of everything that the shapes and the meaning of a model's weights hang on but its items."""
    return hashlib.sha256(manifest.schema_.model_dump_json().encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
