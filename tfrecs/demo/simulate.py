"""Simulates who watches which short when, and how they rate it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tfrecs.demo import exact
from tfrecs.demo.world import DAY, World, appeal, draw_items, draw_tastes, taste
from tfrecs.errors import SpecError

START = 1_672_531_200  # 2023-01-01 00:00 UTC
DAYS = 365
NEW_SHARE = 0.05  # of the shorts come out after NEW_AFTER of all interactions
NEW_AFTER = 0.9
FIRST_DAY_SHARE = 0.8  # of the shorts are there from the start; the rest comes out one by one
LATEST_OLD_RELEASE = 0.85  # share of all interactions by which every other short is out
RATINGS_UP_TO = (0.05, 0.18, 0.47, 0.79)  # share of the ratings of at most 1, 2, 3 and 4
RATING_NOISE = 0.45  # against a spread of 1 in what a user feels
GENEROSITY = 0.35  # spread of the users' own levels


@dataclasses.dataclass(frozen=True)
class SimulatedEvents:
    """E interactions, oldest first.

    Attributes:
      users, items: indices, int64 [E].
      times: unix seconds, int64 [E].
      ratings: 1 to 5, [E].
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    ratings: np.ndarray


def simulate(rng: np.random.Generator, items: int, users: int, interactions: int) -> tuple[World, SimulatedEvents]:
    """Draw a world and its interactions. Raises SpecError where the three sizes do not go together."""
    counts = _event_counts(rng, items, users, interactions)
    centres, factors, moods, popularity = draw_items(rng, items)
    first_day, last_day = _lifetimes(rng, users)
    owner = np.repeat(np.arange(users), counts)
    times = np.concatenate([_event_times(rng, *life) for life in zip(first_day, last_day, counts, strict=True)])
    joined = START + first_day * DAY
    world = World(
        item_ids=_ids("s", items),
        factors=factors,
        moods=moods,
        popularity=popularity,
        released=_releases(rng, np.sort(times), items),
        user_ids=_ids("u", users),
        joined=joined,
        settled=np.maximum(START + last_day * DAY, joined + 90 * DAY),
        **draw_tastes(rng, centres, users),
    )
    chosen, liking = _choose(rng, world, owner, times)
    ratings = _rate(rng, owner, liking)
    order = np.lexsort((owner, times))
    return world, SimulatedEvents(owner[order], chosen[order], times[order], ratings[order])


def _event_counts(rng: np.random.Generator, items: int, users: int, interactions: int) -> np.ndarray:
    """Events per user [users], between 0.4 and 3 times the mean, adding up to `interactions`."""
    mean = interactions / max(users, 1)
    low, high = int(0.4 * mean), int(min(3 * mean, items // 2))
    if items < 20 or low < 2 or mean > high:
        raise SpecError(
            f"demo data of {items} items, {users} users and {interactions} interactions cannot be: "
            "take 20 items or more, 5 interactions a user or more, and fewer a user than half the items"
        )
    counts = np.full(users, low)
    weight = np.rint(2.0**30 * exact.exp(0.7 * exact.normal(rng, users))).astype(np.int64)  # log-normal
    while (left := interactions - int(counts.sum())) > 0:
        room = counts < high
        share = np.where(room, weight, 0)
        extra = np.minimum(left * share // share.sum(), high - counts)
        if not extra.any():  # fewer left than users: one each, the keenest first
            extra[np.argsort(-share, kind="stable")[: min(left, int(room.sum()))]] = 1
        counts += extra
    return counts


def _lifetimes(rng: np.random.Generator, users: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last day [users] of activity: most join early, some through the year, a few in its last weeks."""
    when = rng.permutation((np.arange(users) + 0.5) / users)
    early, late = 60 * when / 0.5, 300 + 55 * (when - 0.96) / 0.04
    first = np.where(when < 0.5, early, np.where(when < 0.96, 60 + 240 * (when - 0.5) / 0.46, late))
    stay = exact.uniform(rng, 120, 420, users)
    return first.astype(int), np.minimum(first + stay, DAYS - 1).astype(int)


def _event_times(rng: np.random.Generator, first_day: int, last_day: int, count: int) -> np.ndarray:
    """`count` different times of one user in ascending order; evenings are the busiest hours."""
    days = rng.integers(first_day, last_day + 1, count)
    evening = rng.random(count) < 0.65
    seconds = np.where(evening, 20.0 + 2.2 * exact.normal(rng, count), exact.uniform(rng, 6.0, 30.0, count)) % 24 * 3600
    times = np.sort(START + days * DAY + seconds.astype(int))
    return np.maximum.accumulate(times - 60 * np.arange(count)) + 60 * np.arange(count)


def _releases(rng: np.random.Generator, times: np.ndarray, items: int) -> np.ndarray:
    """Release of every item [items]: at the start, one by one, or (the new ones) after NEW_AFTER of all `times`."""
    new = max(1, round(NEW_SHARE * items))
    early = round(FIRST_DAY_SHARE * items)
    at = np.concatenate(
        [
            exact.uniform(rng, NEW_AFTER, NEW_AFTER + 0.05, new),
            np.zeros(early),
            exact.uniform(rng, 0.05, LATEST_OLD_RELEASE, items - new - early),
        ]
    )
    position = np.ceil(at * len(times)).astype(int)
    # One second later than the event at that position: the last event before a split never sees a new item.
    released = np.where(at > 0, times[np.minimum(position, len(times) - 1)] + 1, START)
    return rng.permutation(released)


def _choose(
    rng: np.random.Generator, world: World, owner: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The short of every event [E] and how much it was liked [E].

    The Gumbel-max trick draws from the softmax of the utility over what is released and not yet watched by the user.
    """
    chosen = np.empty(len(owner), np.int64)
    liking = np.empty(len(owner))
    for user in range(len(world.user_ids)):
        events = np.flatnonzero(owner == user)
        felt = taste(world, owner[events], times[events])
        noisy = appeal(world, felt, times[events]) + exact.gumbel(rng, felt.shape)
        for step, event in enumerate(events):
            item = int(np.argmax(noisy[step]))
            chosen[event], liking[event] = item, felt[step, item]
            noisy[step:, item] = -np.inf
    return chosen, liking


def _rate(rng: np.random.Generator, owner: np.ndarray, liking: np.ndarray) -> np.ndarray:
    """Ratings 1 to 5 [E]: liking against the user's own level, plus generosity and noise, cut at fixed shares."""
    users = int(owner.max()) + 1
    count = np.bincount(owner, minlength=users)
    steps = np.rint(liking * 65536).astype(np.int64)  # whole numbers: their sums are exact in any order
    level = np.bincount(owner, steps, users) / count
    total, squares = int(steps.sum()), int((steps * steps).sum())
    spread = math.sqrt(squares * len(steps) - total * total) / len(steps)
    felt = (steps - level[owner]) / spread
    felt = felt + GENEROSITY * exact.normal(rng, users)[owner] + RATING_NOISE * exact.normal(rng, len(owner))
    cuts = np.sort(felt)[[int(share * (len(felt) - 1)) for share in RATINGS_UP_TO]]
    return 1 + np.searchsorted(cuts, felt)


def _ids(prefix: str, count: int) -> np.ndarray:
    """Ids such as `s042`. Shuffling rows is not needed: an item's row says nothing of its release or popularity."""
    width = max(3, len(str(count)))
    return np.array([f"{prefix}{number:0{width}d}" for number in range(1, count + 1)])
