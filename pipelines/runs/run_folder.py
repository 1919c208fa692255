"""A run folder: `config.yaml`, `run.json`, checkpoints, TensorBoard logs, `metrics.jsonl` and reports."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import Config, TrainConfig, load_config
from tfrecs.errors import DataError
from tfrecs.schema import Manifest

TRAIN, PRETRAIN = "train", "pretrain"  # steps that write one
_PLACES = ("strategy", "data_service", "worker_timeout", "encodings_folder", "items_in_memory")  # options of `train`
CONFIG_FILE, RUN_FILE, METRICS_FILE = "config.yaml", "run.json", "metrics.jsonl"


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run of `train` or `pretrain`."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The configuration of the run."""
        return self.path / CONFIG_FILE

    @property
    def checkpoints(self) -> Path:
        """Checkpoints from which a run that was killed continues."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "best"

    @property
    def logs(self) -> Path:
        """TensorBoard logs."""
        return self.path / "logs"

    @property
    def lexicon(self) -> Path:
        """The lexical index of text queries."""
        return self.path / "lexicon.npz"

    @property
    def passages(self) -> Path:
        """Sentences of the items in the space of a pretrained text encoder."""
        return self.path / "passages.npz"

    def encodings(self, folder: str | None) -> Path:
        """Where the encodings of a large catalogue lie: here, or in a folder of this run's own in `folder`."""
        if folder is None:
            return self.path / "encodings"
        return Path(folder) / hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]

    @property
    def reports(self) -> Path:
        """What `evaluate` writes."""
        return self.path / "reports"

    @property
    def exists(self) -> bool:
        """Whether there is a run in the folder."""
        return (self.path / RUN_FILE).is_file()

    def create(
        self, records: Path, config: Config, records_id: str, step: str = TRAIN, replicas: int = 1
    ) -> int | None:
        """Make the folder, or open it where it exists.

        Args:
          records: that the run is trained on.
          config: of the run.
          records_id: a hash of the records.
          step: that writes the run, `train` or `pretrain`.
          replicas: that train from now on.

        Returns:
          the replicas that trained it so far; None where the folder is new.

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
            "replicas": replicas,
        }
        if self.exists:
            existing = self.described()
            if existing.get("step", TRAIN) != step:
                raise DataError(f"{self.path}: a run of triptych {existing['step']}; give --out a new folder")
            if existing["records_id"] != records_id:
                raise DataError(f"{self.path}: a run on other records ({existing['records']}); give --out a new folder")
            # Compared by value: an older run has the defaults of options that were added since.
            if _what_is_learned(load_config(self.config_file)) != _what_is_learned(config):
                raise DataError(
                    f"{self.path}: a run with another configuration; give --out a new folder or delete this one"
                )
            write_text(self.path / RUN_FILE, json.dumps(description, indent=1) + "\n")
            return existing.get("replicas", 1)
        if self.path.exists() and any(self.path.iterdir()):
            raise DataError(f"{self.path}: not empty and not a run of ours; give --out a new folder")
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config_file, config.to_yaml())
        write_text(self.path / RUN_FILE, json.dumps(description, indent=1) + "\n")
        return None

    def described(self) -> dict[str, Any]:
        """Read `run.json`: the step, and `items`, `item_shards` (checksums) and `schema` of its records."""
        return json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))

    def load(self, step: str = TRAIN) -> tuple[Path, Config]:
        """Return the records and the configuration of a run.

        Raises:
          DataError: it has no finished epoch of that step, or its records no longer exist.
        """
        if not self.exists:
            raise DataError(f"{self.path}: no run there; {step} first (triptych {step} --out {self.path})")
        written_by = self.described().get("step", TRAIN)
        if written_by != step:
            raise DataError(f"{self.path}: a run of triptych {written_by}; name one of triptych {step}")
        if not self.best.is_dir():
            raise DataError(f"{self.path}: the run has no finished epoch yet; continue it with triptych {step}")
        records = Path(self.described()["records"])
        if not records.is_dir():
            raise DataError(f"{records}: the records that {self.path} was trained on are gone; build them again there")
        return records, load_config(self.config_file)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read `metrics.jsonl`: a dictionary for each finished epoch."""
        path = self.path / METRICS_FILE
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace `metrics.jsonl` as a whole, so that it never has an incomplete line."""
        write_text(self.path / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def _what_is_learned(config: Config) -> Config:
    """A configuration without what says only where and how the same is computed; a run may go on elsewhere."""
    places = {name: TrainConfig.model_fields[name].default for name in _PLACES}
    user = config.user.model_copy(update={"average": bool(config.user.average)})  # null in runs from before the option
    return config.model_copy(update={"train": config.train.model_copy(update=places), "user": user})


def schema_id(manifest: Manifest) -> str:
    """Return a hash of the schema, on which the shapes and the meaning of a model's weights depend."""
    return hashlib.sha256(manifest.schema_.model_dump_json().encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
