"""The parts of a file of lists: each is written once, and the file is joined of them when all are there."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from pipelines.runs.locks import lock_folder
from tfrecs.errors import DataError, SpecError

FORMATS = (".parquet", ".jsonl", ".csv")
_JOB_FILE = "job.json"


def format_of(out: Path) -> str:
    """Return the suffix of a file of lists. Raises SpecError where it is none of the formats."""
    if out.suffix not in FORMATS:
        raise SpecError(f"--out {out}: lists are written as {', '.join(FORMATS)}; end the name with one of them")
    if out.is_dir():
        raise DataError(f"--out {out}: is a folder; name a file")
    return out.suffix


@dataclass(frozen=True)
class Counts:
    """What came out for some users: lists with an item, those shorter than k among them, and rows."""

    lists: int = 0
    short: int = 0
    rows: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.lists + other.lists, self.short + other.short, self.rows + other.rows)

    @classmethod
    def of(cls, table: pa.Table, k: int) -> Counts:
        """Count the lists of a table."""
        sizes = table.column("user_id").value_counts().field("counts").to_numpy(zero_copy_only=False)
        return cls(len(sizes), int((sizes < k).sum()), len(table))


class Parts:
    """The folder of the parts, beside the file that they become.

    Args (and attributes):
      out: the file.
      count: number of parts.
      schema: columns of the lists.
      k: items in a list.
    """

    def __init__(self, out: Path, count: int, schema: pa.Schema, k: int):
        self.out, self.count, self.schema, self._k = out, count, schema, k
        self._suffix = format_of(out)
        # Parquet is encoded once, when the file is joined: that takes longer than all else that is done with a list.
        self._part_suffix = ".arrow" if self._suffix == ".parquet" else self._suffix
        self.folder = out.with_name(f".{out.name}.parts")

    @contextmanager
    def open(self, key: str) -> Iterator[bool]:
        """Hold the folder; what another job left there is deleted.

        Args:
          key: tells one job from another.

        Yields:
          Whether there was something of another job.

        Raises:
          DataError: another process writes the same file, or it cannot be written.
        """
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            busy = DataError(f"{self.out}: another process is writing it; wait for it, or name another --out")
            with lock_folder(self.folder, busy):
                job = self.folder / _JOB_FILE
                other = job.is_file() and job.read_text(encoding="utf-8") != key
                for path in self.folder.iterdir() if other else ():
                    if path.name.startswith("part-"):
                        path.unlink()
                job.write_text(key, encoding="utf-8")
                try:
                    yield other
                finally:
                    if self.folder.is_dir() and not any(self.folder.glob(f"part-*{self._part_suffix}")):
                        shutil.rmtree(self.folder)  # nothing to go on from
        except OSError as error:
            why = error.strerror or error
            raise DataError(
                f"{self.out}: cannot be written ({why}); run the command again when it can: it goes on from {self.folder}"
            ) from error

    def path(self, number: int) -> Path:
        """Return the file of a part, which is there when it is finished."""
        return self.folder / f"part-{number:05d}{self._part_suffix}"

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are not finished."""
        return [number for number in range(self.count) if not self.path(number).is_file()]

    def write(self, number: int, table: pa.Table) -> None:
        """Write a part under another name, which it loses when it is whole."""
        path = self.path(number)
        path.with_suffix(".json").write_text(json.dumps(vars(Counts.of(table, self._k))), encoding="utf-8")
        # A name of its own: a Beam runner may make a part twice at a time.
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            _write(table, self._suffix, file)
        Path(file.name).replace(path)

    def join(self) -> Counts:
        """Join the parts to the file, which appears whole under its name, and delete them."""
        temporary = self.folder / f"whole{self._suffix}"
        if self._suffix == ".parquet":
            texts = [field.name for field in self.schema if pa.types.is_string(field.type)]
            with pa.parquet.ParquetWriter(temporary, self.schema, use_dictionary=texts) as writer:
                for number in range(self.count):
                    writer.write_table(pa.feather.read_table(self.path(number), memory_map=False))
        else:
            with temporary.open("wb") as file:
                if self._suffix == ".csv":
                    pa.csv.write_csv(self.schema.empty_table(), file)
                for number in range(self.count):
                    with self.path(number).open("rb") as part:
                        shutil.copyfileobj(part, file)
        counts = Counts()
        for number in range(self.count):
            counts += Counts(**json.loads(self.path(number).with_suffix(".json").read_text(encoding="utf-8")))
        temporary.replace(self.out)
        shutil.rmtree(self.folder)
        return counts


def _write(table: pa.Table, suffix: str, file: IO[bytes]) -> None:
    if suffix == ".parquet":
        pa.feather.write_feather(table, file, compression="lz4")
    elif suffix == ".csv":
        pa.csv.write_csv(table, file, pa.csv.WriteOptions(include_header=False))
    elif len(table):  # pandas writes an empty line for none
        frame = table.to_pandas()
        frame.to_json(file, orient="records", lines=True, force_ascii=False, double_precision=15)


def digest(*parts: Any) -> str:
    """Return a digest of arrays (by their bytes) and of values that JSON can hold."""
    hashed = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        hashed.update(len(content).to_bytes(8, "little") + content)
    return hashed.hexdigest()
