"""The generated catalogue: reproducible, as incomplete as promised, and with a truth that explains what users did."""

from __future__ import annotations

import csv
import io
import json
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tfrecs.demo import generate, oracle_scores
from tfrecs.demo.audio import play_clip
from tfrecs.demo.world import World
from tfrecs.errors import DataError, SpecError

ITEMS, USERS, EVENTS = 120, 60, 1500


@dataclass(frozen=True)
class Made:
    """A generated folder with its tables read: events oldest first as they stand in the file."""

    folder: Path
    items: list[dict[str, str | None]]
    users: np.ndarray
    consumed: np.ndarray
    ratings: np.ndarray
    times: np.ndarray


def make(folder: Path, *, seed: int) -> Made:
    generate(folder, seed=seed, items=ITEMS, users=USERS, interactions=EVENTS)
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    with (folder / "interactions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Made(
        folder=folder,
        items=items,
        users=np.array([row["user_id"] for row in rows]),
        consumed=np.array([row["item_id"] for row in rows]),
        ratings=np.array([int(row["rating"]) for row in rows]),
        times=np.array([int(row["timestamp"]) for row in rows], np.int64),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("demo") / "first", seed=7)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("demo") / "other", seed=8)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_of_every_file(made: Made, tmp_path: Path) -> None:
    again = make(tmp_path / "again", seed=7)
    first, second = files(made.folder), files(again.folder)
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_another_seed_gives_other_bytes(made: Made, other: Made) -> None:
    first, second = files(made.folder), files(other.folder)
    common = first.keys() & second.keys()
    assert {"items.jsonl", "interactions.csv", "truth.npz"} <= common
    assert any(name.startswith("images/") for name in common)
    assert any(name.startswith("audio/") for name in common)
    # The description of the folder is what no seed changes.
    assert [name for name in common if first[name] == second[name]] == ["dataset.yaml"]


def test_some_items_lack_something_and_none_lacks_all(made: Made) -> None:
    lacking = np.array([[item[key] is None for key in ("description", "image", "audio")] for item in made.items])
    assert len(lacking) == ITEMS
    assert lacking.any(axis=1).mean() == pytest.approx(0.15, abs=0.01)
    assert lacking.any(axis=0).all()  # each of the three is missing somewhere
    assert lacking.sum(axis=1).max() == 2
    # What every item has.
    assert all(item["item_id"] and item["title"] and item["mood"] for item in made.items)
    assert len({item["title"] for item in made.items}) == ITEMS


def test_the_files_are_those_that_the_items_name(made: Made) -> None:
    named = {item[key] for item in made.items for key in ("image", "audio") if item[key] is not None}
    assert {name for name in files(made.folder) if "/" in name} == named
    spec = yaml.safe_load((made.folder / "dataset.yaml").read_text(encoding="utf-8"))
    assert set(files(made.folder)) - named == {
        "dataset.yaml",
        spec["items"]["file"],
        spec["interactions"]["file"],
        spec["oracle"],
    }


def test_posters_open(made: Made) -> None:
    paths = sorted((made.folder / "images").iterdir())
    assert len(paths) > ITEMS * 0.8
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (112, 112))
            assert np.asarray(image).std() > 10  # a picture, not a plain field


def test_sounds_are_16_khz_mono_and_audible(made: Made) -> None:
    paths = sorted((made.folder / "audio").iterdir())
    assert len(paths) > ITEMS * 0.8
    for path in paths:
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
        assert len(samples) == 32_000  # two seconds
        assert np.abs(samples).max() == pytest.approx(0.8 * 32767, abs=1)  # no clipping
        assert samples.std() > 1000


@pytest.mark.parametrize(("factors", "seed"), [((0.0, 3.0, 2.0, 2.0), 1818), ((2.0, 3.0, 1.0, 2.0), 488)])
def test_a_clip_whose_loudest_moment_is_in_its_fade_has_the_same_peak(factors: tuple[float, ...], seed: int) -> None:
    # Scaled before the fade these peaked at 23,702 and 25,270.
    with wave.open(io.BytesIO(play_clip(np.array(factors), np.random.default_rng(seed)))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
    assert np.abs(samples).max() == pytest.approx(0.8 * 32767, abs=1)


def test_interactions_are_of_items_that_exist_and_never_twice(made: Made) -> None:
    assert len(made.users) == EVENTS
    assert set(made.consumed) <= {item["item_id"] for item in made.items}
    assert len(set(zip(made.users.tolist(), made.consumed.tolist(), strict=True))) == EVENTS
    assert len(set(made.users)) == USERS
    assert (np.diff(made.times) >= 0).all()


def test_ratings_are_1_to_5_and_all_occur(made: Made) -> None:
    values, counts = np.unique(made.ratings, return_counts=True)
    assert values.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(counts / EVENTS, [0.05, 0.13, 0.29, 0.32, 0.21], atol=0.01)


@pytest.mark.parametrize("seed", ["made", "other"])
def test_new_items_have_no_interaction_before_the_last_tenth(seed: str, request: pytest.FixtureRequest) -> None:
    folder: Made = request.getfixturevalue(seed)
    world = World.load(folder.folder / "truth.npz")
    last_tenth = folder.times[int(0.9 * EVENTS)]
    new = world.item_ids[world.released > last_tenth]
    assert len(new) == round(0.05 * ITEMS)
    seen = np.flatnonzero(np.isin(folder.consumed, new))
    assert len(seen) > 0  # people do take them afterwards
    assert seen.min() >= 0.9 * EVENTS
    # All the others are out well before: what is cold in a split by time is what is new.
    assert (world.released[~np.isin(world.item_ids, new)] < folder.times[int(0.9 * EVENTS)]).all()


def events_by_oracle(made: Made) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True scores [E, N] at every event, the column of what was consumed [E], and what the user already had [E, N]."""
    ids, scores = oracle_scores(made.folder / "truth.npz", made.users.tolist(), made.times)
    column = {item: index for index, item in enumerate(ids.tolist())}
    chosen = np.array([column[item] for item in made.consumed.tolist()])
    had = np.zeros(scores.shape, bool)
    past: dict[str, list[int]] = {}
    for row, (user, item) in enumerate(zip(made.users.tolist(), chosen.tolist(), strict=True)):
        had[row, past.setdefault(user, [])] = True
        past[user].append(item)
    return scores, chosen, had


def mean_place(scores: np.ndarray, chosen: np.ndarray, candidates: np.ndarray) -> float:
    """Mean share of the other candidates that score above what was chosen: 0 is perfect, 0.5 chance."""
    own = scores[np.arange(len(chosen)), chosen][:, None]
    above = (candidates & (scores > own)).sum(axis=1)
    return float((above / np.maximum(candidates.sum(axis=1) - 1, 1)).mean())


def test_the_oracle_ranks_what_was_consumed_far_above_chance(made: Made) -> None:
    scores, chosen, had = events_by_oracle(made)
    candidates = np.isfinite(scores) & ~had
    assert candidates[np.arange(EVENTS), chosen].all()
    own = mean_place(scores, chosen, candidates)
    assert own < 0.25
    # It is the user that it knows, not only what is popular: another user's truth is a much worse guide.
    names = np.unique(made.users)
    stranger = dict(zip(names.tolist(), np.roll(names, 1).tolist(), strict=True))
    _, strange = oracle_scores(made.folder / "truth.npz", [stranger[user] for user in made.users.tolist()], made.times)
    assert own + 0.1 < mean_place(strange, chosen, candidates) < 0.5


def test_the_oracle_never_scores_what_is_not_released(made: Made) -> None:
    world = World.load(made.folder / "truth.npz")
    ids, scores = oracle_scores(made.folder / "truth.npz", made.users.tolist(), made.times)
    assert scores.dtype == np.float32
    assert ids.tolist() == [item["item_id"] for item in made.items]
    unreleased = world.released[None, :] > made.times[:, None]
    assert 0.05 < unreleased.mean() < 0.5
    np.testing.assert_array_equal(scores == -np.inf, unreleased)
    assert np.isfinite(scores[~unreleased]).all()


def test_a_long_list_of_queries_is_scored_like_each_alone(made: Made) -> None:
    _, scores = oracle_scores(made.folder / "truth.npz", made.users.tolist(), made.times)
    for row in (0, 1023, 1024, EVENTS - 1):  # on both sides of where it is cut into parts
        _, alone = oracle_scores(made.folder / "truth.npz", [str(made.users[row])], made.times[[row]])
        np.testing.assert_allclose(scores[row], alone[0], rtol=1e-5)


def test_wrong_truth_and_unknown_users_are_named_in_one_line(made: Made, tmp_path: Path) -> None:
    absent, broken, foreign = tmp_path / "absent.npz", tmp_path / "broken.npz", tmp_path / "foreign.npz"
    broken.write_bytes(b"PK\x03\x04 not an archive")
    np.savez(foreign, something=np.zeros(3))
    now = np.array([made.times[0]])
    for path in (absent, broken, foreign):
        with pytest.raises(DataError, match=path.name) as raised:
            oracle_scores(path, ["u001"], now)
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="no user 'nobody'"):
        oracle_scores(made.folder / "truth.npz", ["nobody"], now)
    with pytest.raises(ValueError, match="2 user ids but times of shape"):
        oracle_scores(made.folder / "truth.npz", ["u001", "u002"], now)


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(FileExistsError, match="mine is there already"):
        generate(folder, seed=1, items=60, users=40, interactions=800)
    assert files(tmp_path) == {"mine/thesis.txt": b"years of work"}


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    class InterruptedDrawingError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 60
        if done == 5:
            raise InterruptedDrawingError

    with pytest.raises(InterruptedDrawingError):
        generate(tmp_path / "out", seed=1, items=60, users=40, interactions=800, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("items", "users", "interactions"),
    [(10, 5, 40), (60, 40, 100), (60, 40, 1500), (60, 0, 100)],
    ids=["too few items", "too few events a user", "more events a user than half the items", "no users"],
)
def test_sizes_that_do_not_go_together_are_refused(items: int, users: int, interactions: int, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"{items} items, {users} users and {interactions} interactions"):
        generate(tmp_path / "out", seed=1, items=items, users=users, interactions=interactions)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_item(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    generate(
        tmp_path / "deep" / "out",
        seed=1,
        items=20,
        users=20,
        interactions=140,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 20) for done in range(1, 21)]
