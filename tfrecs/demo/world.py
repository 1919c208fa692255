"""The demo's hidden truth: what every short film is, what every user likes, and the utility that follows.

A short has four factors in each of three blocks. Its description shows the text block only, its poster the image block
only, its sound the audio block only; a mood label is a small block of its own. Utility is a sum over the blocks of a
radial term around the user's ideal point (an ideal-point or "unfolding" model: Coombs, 1964; DeSarbo and Rao, 1984)
with products between blocks and a term that is periodic in the hour, so nothing linear in the factors explains it. A
user's ideal point moves along a smooth path from a first taste to a last one.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfrecs.demo import exact
from tfrecs.errors import DataError

BLOCKS = ("text", "image", "audio")
FACTORS = 4  # per block
TOP_LEVEL = 5.0  # a factor lies in [0, TOP_LEVEL]; every renderer has one look, word or sound per whole level
BLUR = 0.15  # Standard deviation, in levels, of what is shown of a factor around the factor.
MOODS = ("curious", "sociable", "playful", "romantic", "cosy", "wistful", "sleepy", "restless")
MOOD_PEAK_HOURS = (9.0, 12.0, 15.0, 18.0, 20.0, 22.0, 0.0, 3.0)

CLUSTERS = 7  # schools of films per block
CLUSTER_SPREAD = 0.4  # of a short around the centre of its school, in levels
TASTES = 22  # archetypes that users are drawn around
TASTE_SPREAD = 0.3  # of a user around the archetype, in levels
RADIUS = 1.9  # of the radial term, in levels
BLOCK_STRENGTH = 4.6
SYNERGY_STRENGTH = 1.2
MOOD_STRENGTH = 2.5
MOOD_CONCENTRATION = 2.0
HOUR_STRENGTH = 0.35
POPULARITY_EXPONENT = 0.55  # of the Zipf law over the ranks of the shorts
DRIFT_CHANCE = 0.3  # that a block's ideal point ends at another archetype

HOUR, DAY = 3600, 86400


@dataclasses.dataclass(frozen=True)
class World:
    """The truth of one generated catalogue; N shorts, U users, B = 3 blocks, F = 4 factors. Times are unix seconds.

    Attributes:
      item_ids: str [N].
      factors: float64 [N, B, F] in levels, 0 to TOP_LEVEL.
      moods: int64 [N], index into MOODS.
      popularity: float64 [N], what every user adds to the utility: minus the exponent times the log of the rank.
      released: int64 [N], nobody can choose the short before.
      user_ids: str [U].
      first_ideal, last_ideal: float64 [U, B, F], the two ends of the path of the ideal point.
      strengths: float64 [U, B], how much each block weighs for the user.
      first_mood, last_mood: float64 [U], radians on the circle of moods.
      joined, settled: int64 [U], when the path of the ideal point begins and ends.
    """

    item_ids: np.ndarray
    factors: np.ndarray
    moods: np.ndarray
    popularity: np.ndarray
    released: np.ndarray
    user_ids: np.ndarray
    first_ideal: np.ndarray
    last_ideal: np.ndarray
    strengths: np.ndarray
    first_mood: np.ndarray
    last_mood: np.ndarray
    joined: np.ndarray
    settled: np.ndarray

    def save(self, path: Path) -> None:
        """Writes `truth.npz`; equal worlds are equal bytes (those of np.savez depend on Python's version)."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in dataclasses.asdict(self).items():
                buffer = io.BytesIO()
                np.save(buffer, array)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> World:
        """Reads `truth.npz`. Raises DataError where it is absent or not one of ours."""
        if not path.is_file():
            raise DataError(f"{path}: no such file; generate the demo data again")
        try:
            # Opened here: numpy leaves the file open where it is a broken archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in dataclasses.fields(cls)})
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: not the truth of a demo catalogue ({error}); generate the demo data again"
            ) from error


def draw_items(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws the shorts: centres [B, CLUSTERS, F], factors [count, B, F], moods [count], popularity [count].

    The schools of the three blocks are drawn independently of each other, so that no modality tells of another.
    """
    centres = np.stack([_spread_centres(rng) for _ in BLOCKS])
    school = np.stack([_balanced(rng, count, CLUSTERS) for _ in BLOCKS], axis=1)
    around = centres[np.arange(len(BLOCKS)), school]
    factors = np.clip(around + CLUSTER_SPREAD * exact.normal(rng, around.shape), 0.0, TOP_LEVEL)
    rank = rng.permutation(count) + 1.0
    return centres, factors, _balanced(rng, count, len(MOODS)), -POPULARITY_EXPONENT * exact.log(rank)


def draw_tastes(rng: np.random.Generator, centres: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Draws the tastes of `count` users: the World's first_ideal, last_ideal, strengths, first_mood and last_mood."""
    blocks = np.arange(len(BLOCKS))
    liked = np.stack([_balanced(rng, TASTES, CLUSTERS) for _ in BLOCKS], axis=1)
    moods = exact.uniform(rng, 0.0, 2 * np.pi, TASTES)
    first = _balanced(rng, count, TASTES)
    last = (first + rng.integers(1, TASTES, count)) % TASTES
    moved = rng.random((count, len(BLOCKS))) < DRIFT_CHANCE
    own = TASTE_SPREAD * exact.normal(rng, (count, len(BLOCKS), FACTORS))
    ends = np.where(moved[..., None], centres[blocks, liked[last]], centres[blocks, liked[first]])
    own_mood = 0.4 * exact.normal(rng, count)
    return {
        "first_ideal": centres[blocks, liked[first]] + own,
        "last_ideal": ends + own,
        "strengths": BLOCK_STRENGTH * exact.uniform(rng, 0.8, 1.2, (count, len(BLOCKS))),
        "first_mood": moods[first] + own_mood,
        # The shorter way round the circle of moods.
        "last_mood": moods[first] + own_mood + 0.5 * _wrapped(moods[last] - moods[first]),
    }


def taste(world: World, users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """How much each user likes each short at each moment, popularity and release aside.

    Args:
      users: int64 [Q], index into the world's users.
      times: int64 [Q], unix seconds.

    Returns:
      float64 [Q, N].
    """
    path = _path(world, users, times)
    near = [
        exact.exp(
            -_squared_distances(_between(world.first_ideal, world.last_ideal, users, path, b), world.factors[:, b])
            / (2 * RADIUS * RADIUS)
        )
        for b in range(len(BLOCKS))
    ]
    total = sum(world.strengths[users, b, None] * near[b] for b in range(len(BLOCKS)))
    total = total + SYNERGY_STRENGTH / 3 * (near[0] * near[1] + near[1] * near[2] + near[2] * near[0])
    angles = 2 * np.pi * np.arange(len(MOODS)) / len(MOODS)
    wanted = _between(world.first_mood, world.last_mood, users, path, slice(None))
    mood = MOOD_STRENGTH * exact.exp(MOOD_CONCENTRATION * (exact.cos(wanted[:, None] - angles) - 1.0))
    hour = (times % DAY) / HOUR
    daypart = HOUR_STRENGTH * exact.cos(2 * np.pi * (hour[:, None] - np.array(MOOD_PEAK_HOURS)) / 24.0)
    return total + (mood + daypart)[:, world.moods]


def utility(world: World, users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Taste plus popularity, -inf before the release: a choice is a draw from the softmax of this. Shapes as `taste`."""
    return appeal(world, taste(world, users, times), times)


def appeal(world: World, liking: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Utility [Q, N] from the result of `taste`."""
    return np.where(world.released <= times[:, None], liking + world.popularity, -np.inf)


def oracle_scores(truth: Path, user_ids: Sequence[str], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The true utility of every item for each user at each moment: what a perfect recommender would rank by.

    Args:
      truth: the `truth.npz` of a generated data folder.
      user_ids: Q user ids.
      times: int64 [Q], unix seconds.

    Returns:
      item_ids str [N], scores float32 [Q, N]; -inf where the item is not released at that moment.

    Raises:
      DataError: the file is absent or not ours, or a user is not in it.
      ValueError: `user_ids` and `times` differ in length.
    """
    world = World.load(truth)
    times = np.asarray(times, np.int64)
    if times.shape != (len(user_ids),):
        raise ValueError(f"{len(user_ids)} user ids but times of shape {times.shape}")
    row = {user: index for index, user in enumerate(world.user_ids.tolist())}
    unknown = next((user for user in user_ids if user not in row), None)
    if unknown is not None:
        raise DataError(
            f"{truth}: no user {unknown!r} there; use the truth and the interactions of one generated folder"
        )
    users = np.array([row[user] for user in user_ids], np.int64)
    scores = np.empty((len(users), len(world.item_ids)), np.float32)
    for start in range(0, len(users), 1024):  # bounds the float64 temporaries of a long list of queries
        part = slice(start, start + 1024)
        scores[part] = utility(world, users[part], times[part])
    return world.item_ids, scores


def _path(world: World, users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """How far along its path each user's taste is at each moment, 0 to 1, smooth at both ends."""
    linear = np.clip((times - world.joined[users]) / (world.settled[users] - world.joined[users]), 0.0, 1.0)
    return linear * linear * (3.0 - 2.0 * linear)


def _between(
    first: np.ndarray, last: np.ndarray, users: np.ndarray, path: np.ndarray, block: int | slice
) -> np.ndarray:
    if isinstance(block, int):
        return first[users, block] + path[:, None] * (last[users, block] - first[users, block])
    return first[users] + path * (last[users] - first[users])


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    gaps = [a[:, None, factor] - b[None, :, factor] for factor in range(a.shape[1])]
    return sum((gap * gap for gap in gaps), np.zeros([len(a), len(b)]))


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _balanced(rng: np.random.Generator, count: int, kinds: int) -> np.ndarray:
    """`count` values of range(kinds) in random order, each about equally often."""
    return rng.permutation(np.arange(count) % kinds)


def _spread_centres(rng: np.random.Generator) -> np.ndarray:
    """Centres [CLUSTERS, F]: every factor takes CLUSTERS different levels (a Latin hypercube), no two centres close.

    The best of 64 hypercubes by its smallest distance (maximin design: Johnson, Moore and Ylvisaker, 1990), measured in
    whole steps: several are equally good, and rounding must not choose among them. The last one is taken.
    """
    designs = [np.stack([rng.permutation(CLUSTERS) for _ in range(FACTORS)], axis=1) for _ in range(64)]

    def closest(design: np.ndarray) -> int:
        gaps = np.square(design[:, None] - design[None, :]).sum(axis=2)
        return int(gaps[~np.eye(CLUSTERS, dtype=bool)].min())

    return max(reversed(designs), key=closest) * TOP_LEVEL / (CLUSTERS - 1)


def nearby_level(factor: float, rng: np.random.Generator) -> int:
    """Round a factor with a little noise to a level, 0 to 5.

    Drawn anew for each detail of an item, so that a factor between two levels shows as a mixture of both.
    """
    return int(np.clip(np.rint(factor + BLUR * exact.normal(rng)), 0, TOP_LEVEL))


def between_levels(factor: float) -> tuple[int, int, float]:
    """Return the two levels around a factor and the share of the upper one.

    The share is a smoothstep, so that most factors look much like one level.
    """
    low = int(np.clip(np.floor(factor), 0, TOP_LEVEL - 1))
    share = float(np.clip(factor - low, 0.0, 1.0))
    return low, low + 1, share * share * (3.0 - 2.0 * share)
