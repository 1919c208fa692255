"""Generated catalogues and logs: the same for the same seed, in whatever chunks, and with the structure that they promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.scale import generate as module
from benchmarks.scale.generate import FIRST_TIME, Sizes, World, generate
from tfrecs.spec.dataset_yaml import load_spec

SIZES = Sizes(items=2_000, events=40_000, users=400, seed=3)


@pytest.mark.parametrize(("suffix", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_the_same_seed_gives_the_same_files(tmp_path: Path, suffix: str, read: Callable[[Path], pd.DataFrame]) -> None:
    for name in ("one", "two"):
        generate(tmp_path / name, SIZES, suffix)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    items, events = read(tmp_path / "one" / f"items.{suffix}"), read(tmp_path / "one" / f"events.{suffix}")
    assert (len(items), items["item_id"].nunique(), len(events)) == (2_000, 2_000, 40_000)
    assert events["timestamp"].is_monotonic_increasing
    assert events["timestamp"].min() >= FIRST_TIME
    assert np.load(tmp_path / "one" / "vectors.npy").shape == (2_000, 32)
    assert load_spec(tmp_path / "one", None).items is not None


def test_chunks_cover_the_whole_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7_000)
    chunks = list(World(SIZES).events())
    assert [len(chunk["user_id"]) for chunk in chunks] == [7_000] * 5 + [5_000]
    times = np.concatenate([chunk["timestamp"] for chunk in chunks])
    assert (np.diff(times) >= 0).all()


def test_users_keep_to_their_clusters_and_few_items_have_most_events() -> None:
    world = World(SIZES)
    events = {name: np.concatenate(parts) for name, parts in _columns(world).items()}
    preferred = (world.cluster[events["item_id"]][:, None] == world.preferred[events["user_id"]]).any(axis=1)
    assert preferred.mean() > 0.85  # All but those that explore, some of which land there by chance.
    counts = np.sort(np.bincount(events["item_id"], minlength=SIZES.items))[::-1]
    assert counts[: SIZES.items // 10].sum() > 0.4 * SIZES.events
    # What a user took last says more about the next than what any user took.
    order = np.lexsort((events["timestamp"], events["user_id"]))
    clusters, users = world.cluster[events["item_id"]][order], events["user_id"][order]
    same_user = users[1:] == users[:-1]
    again = (clusters[1:] == clusters[:-1])[same_user].mean()
    by_chance = ((np.bincount(clusters) / len(clusters)) ** 2).sum()
    assert again > 3 * by_chance


def _columns(world: World) -> dict[str, list[np.ndarray]]:
    chunks = list(world.events())
    return {name: [chunk[name] for chunk in chunks] for name in chunks[0]}
