"""The events of two users, some of them held out, and the schema that they follow."""

from __future__ import annotations

import numpy as np

from tfrecs.reading.reader import UserHistory
from tfrecs.schema import ContextSchema, LabelSchema, Schema

LABELS = (LabelSchema(name="like", task="binary"), LabelSchema(name="stars", task="regression", range=(1, 5)))
CONTEXT = (
    ContextSchema(name="device", kind="categories", source="column", vocabulary=("tv", "phone")),
    ContextSchema(name="hour", kind="number", source="time"),
)


def schema(*, ordered: bool) -> Schema:
    return Schema(items=(), labels=LABELS, context=CONTEXT, ordered=ordered, has_time=ordered)


def history(user: str, items: list[int], target: list[int], positive: list[int], *, start: int = 100) -> UserHistory:
    """Event j has value j + .5, time start + j, stars j and device tv, phone, tv, ..."""
    steps = np.arange(len(items))
    return UserHistory(
        user_id=user,
        items=np.array(items, np.int32),
        values=(steps + 0.5).astype(np.float32),
        times=steps.astype(np.int64) + start,
        target=np.array(target, bool),
        positive=np.array(positive, bool),
        labels=np.stack([np.array(positive, np.float32), steps.astype(np.float32)], axis=1),
        context={"device": np.array([(b"tv", b"phone")[step % 2] for step in steps])},
        user=f"example of {user}".encode(),
    )


def lists(arrays: list[np.ndarray]) -> list[list[int]]:
    return [array.tolist() for array in arrays]


# Ann: two events of the past, then three held out, the second of which she did not like. Bob: only a first event.
ANN = history("ann", [5, 3, 9, 4, 7], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1])
BOB = history("bob", [8], [1], [1], start=500)
