"""Generates a data folder of any size whose items and users have a latent structure, without holding it in memory.

    python -m benchmarks.scale.generate --out DIR --items 100000 --events 5000000 [--users N] [--format parquet|csv] [--seed S]

Items belong to clusters. Within a cluster their popularity has a long tail; the text, the vector and the categories of an item
tell its cluster, each with noise. A user prefers a few clusters and stays with one of them for some days, then goes on to the
next, so that content, other users and the recent past all say something about the next event. The log is in the order of time.
The same arguments give the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipelines.runs.progress import progress, say

CHUNK = 1 << 20  # Events, or items, made at a time.
FIRST_TIME = 1_600_000_000
DAYS = 365
_SESSION = 3 * 86_400  # Seconds for which a user stays with a cluster.
_CLUSTERS_OF_USER = 4
_EXPLORING = 0.1  # Share of the events that are drawn from all items.
_TAIL = 0.9  # Exponent of the popularity by rank.
_DIM = 32
_NOISE = 0.7  # Standard deviation of a vector around the centre of its cluster, of unit variance.
_TOPIC_WORDS, _COMMON_WORDS, _WORDS_OF_ITEM = 24, 500, 10
_SPEC = """name: generated
items:
  file: items.{suffix}
  id: item_id
  title: title
  features:
    text: {{kind: text, columns: [title, text]}}
    vector: {{kind: vector, file: vectors.npy, row: row}}
    genres: {{kind: categories, columns: [genre, style]}}
interactions: {{file: events.{suffix}, user: user_id, item: item_id, time: timestamp}}
split: {{by: time, fractions: [0.8, 0.1, 0.1]}}
"""


@dataclass(frozen=True)
class Sizes:
    """How large a data folder is, and the seed of all draws."""

    items: int
    events: int
    users: int
    seed: int = 0

    @property
    def clusters(self) -> int:
        """Number of clusters: of some hundred items at 10^4 items, of a thousand at 10^6."""
        return max(2, round(self.items**0.5))


class World:
    """Clusters of items and users, from which events and content are drawn.

    Attributes:
      cluster: of each item, int32 [items].
      preferred: clusters of each user, the same one possibly several times, int32 [users, 4].
    """

    def __init__(self, sizes: Sizes):
        rng = np.random.default_rng([sizes.seed, 0])
        self.sizes = sizes
        share = rng.gamma(1.0, size=sizes.clusters) + 0.1  # Clusters of different sizes.
        self.cluster = rng.choice(sizes.clusters, sizes.items, p=share / share.sum()).astype(np.int32)
        popularity = 1.0 / (1.0 + rng.permutation(sizes.items)) ** _TAIL
        # Items in the order of their clusters: the total of the popularity up to each one is where a draw falls.
        self._order = np.argsort(self.cluster, kind="stable").astype(np.int32)
        self._total = np.cumsum(popularity[self._order])
        last = np.searchsorted(self.cluster[self._order], np.arange(sizes.clusters), side="right") - 1
        self._end = np.where(last >= 0, self._total[last], 0.0)
        weight = np.diff(self._end, prepend=0.0)
        self.preferred = rng.choice(sizes.clusters, (sizes.users, _CLUSTERS_OF_USER), p=weight / weight.sum())
        self.preferred = self.preferred.astype(np.int32)
        self._phase = rng.integers(0, _SESSION, sizes.users, dtype=np.int32)
        self._activity = np.cumsum(rng.lognormal(0.0, 1.0, sizes.users))

    def events(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the log in the order of time, a chunk at a time: users, items and times, int64."""
        for start in range(0, self.sizes.events, CHUNK):
            count = min(CHUNK, self.sizes.events - start)
            rng = np.random.default_rng([self.sizes.seed, 1, start])
            users = np.searchsorted(self._activity, rng.random(count) * self._activity[-1])
            seconds = np.sort(rng.integers(start, start + count, count)) * (DAYS * 86_400) // self.sizes.events
            session = (seconds + self._phase[users]) // _SESSION
            # A user's cluster of a session: a hash, so that no state is kept.
            turn = (users * 2_654_435_761 + session * 40_503 >> 7) % _CLUSTERS_OF_USER
            cluster = self.preferred[users, turn]
            low, high = np.where(cluster > 0, self._end[cluster - 1], 0.0), self._end[cluster]
            exploring = rng.random(count) < _EXPLORING
            low, high = np.where(exploring, 0.0, low), np.where(exploring, self._total[-1], high)
            place = np.searchsorted(self._total, low + rng.random(count) * (high - low), side="right")
            items = self._order[np.minimum(place, self.sizes.items - 1)].astype(np.int64)
            yield {"user_id": users, "item_id": items, "timestamp": FIRST_TIME + seconds}

    def items(self) -> Iterator[tuple[dict[str, object], np.ndarray]]:
        """Yield the catalogue, a chunk at a time: columns of the table, and vectors, float32 [n, 32]."""
        rng = np.random.default_rng([self.sizes.seed, 2])
        words = np.array(_words(4096), object)
        topics = rng.integers(_COMMON_WORDS, len(words), (self.sizes.clusters, _TOPIC_WORDS))
        centres = rng.standard_normal((self.sizes.clusters, _DIM), np.float32)
        for start in range(0, self.sizes.items, CHUNK // 8):
            numbers = np.arange(start, min(start + CHUNK // 8, self.sizes.items))
            rng = np.random.default_rng([self.sizes.seed, 3, start])
            cluster = self.cluster[numbers]
            chosen = topics[cluster[:, None], rng.integers(0, _TOPIC_WORDS, (len(numbers), _WORDS_OF_ITEM))]
            common = rng.random(chosen.shape) < 0.4
            chosen = np.where(common, rng.integers(0, _COMMON_WORDS, chosen.shape), chosen)
            texts = [" ".join(row) for row in words[chosen]]
            columns = {
                "item_id": numbers,
                "title": [f"{text.split()[0].title()} {number}" for text, number in zip(texts, numbers, strict=True)],
                "text": texts,
                "genre": [f"genre {number % 50}" for number in cluster],
                "style": [f"style {number}" for number in rng.integers(0, 20, len(numbers))],
                "row": numbers,
            }
            noise = rng.standard_normal((len(numbers), _DIM), np.float32)
            yield columns, centres[cluster] + np.float32(_NOISE) * noise


def _words(count: int) -> list[str]:
    """Return different words of three syllables that look like words."""
    syllables = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
    base = len(syllables)
    numbers = ((number * 7919) % base**3 for number in range(count))
    return [syllables[n // base**2] + syllables[n // base % base] + syllables[n % base] for n in numbers]


class _TableFile:
    """A table that grows by chunks."""

    def __init__(self, path: Path):
        self._path = path
        self._writer: pa.parquet.ParquetWriter | pa.csv.CSVWriter | None = None

    def write(self, columns: Mapping[str, object]) -> None:
        table = pa.table(dict(columns))
        if self._writer is None:
            parquet = self._path.suffix == ".parquet"
            self._writer = (pa.parquet.ParquetWriter if parquet else _csv_writer)(str(self._path), table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _csv_writer(path: str, schema: pa.Schema) -> pa.csv.CSVWriter:
    return pa.csv.CSVWriter(path, schema, write_options=pa.csv.WriteOptions(quoting_style="none"))


def generate(out: Path, sizes: Sizes, suffix: str) -> Path:
    """Write the data folder `out`: tables with this suffix, vectors.npy and dataset.yaml."""
    out.mkdir(parents=True, exist_ok=True)
    world = World(sizes)
    vectors = np.lib.format.open_memmap(out / "vectors.npy", "w+", np.float32, (sizes.items, _DIM))
    items, events, done = _TableFile(out / f"items.{suffix}"), _TableFile(out / f"events.{suffix}"), 0
    with progress("catalogue", "items") as advance:
        for columns, part in world.items():
            vectors[done : done + len(part)] = part
            items.write(columns)
            done += len(part)
            advance(done, sizes.items)
    vectors.flush()
    items.close()
    with progress("log", "events") as advance:
        for number, chunk in enumerate(world.events()):
            events.write(chunk)
            advance(min((number + 1) * CHUNK, sizes.events), sizes.events)
    events.close()
    (out / "dataset.yaml").write_text(_SPEC.format(suffix=suffix), encoding="utf-8")
    return out


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--items", type=click.IntRange(10), default=100_000, show_default=True)
@click.option("--events", type=click.IntRange(1), default=5_000_000, show_default=True)
@click.option("--users", type=click.IntRange(1), help="Default: a user for 50 events.")
@click.option("--format", "suffix", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(out: Path, items: int, events: int, users: int | None, suffix: str, seed: int) -> None:
    """Generate a catalogue and a log."""
    sizes = Sizes(items, events, users or max(1, events // 50), seed)
    generate(out, sizes, suffix)
    say(f"{out}: {items:,} items in {sizes.clusters:,} clusters, {events:,} events of {sizes.users:,} users")


if __name__ == "__main__":
    main()
