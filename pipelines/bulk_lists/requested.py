"""What is asked for against what an export has and what is known of the users: errors, and what is worth a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.bulk_lists.lister import Lister, ListOptions
from pipelines.bulk_lists.selection import Selection, shown
from pipelines.runs.progress import say
from serving.graph import contract
from serving.wire import layout
from tfrecs.errors import DataError, SpecError
from tfrecs.reading.known_events import KnownEvents


def checked(lister: Lister, options: ListOptions) -> ListOptions:
    """Return the options as the export takes them: `k` at most its items, the context in its types.

    Raises:
      SpecError: it has no such context or category, takes no text, or a value is of another type.
    """
    if options.query and not lister.has_search:
        raise SpecError(f"--text: {lister.folder} takes no text, since its items have neither a text nor titles")
    if lister.items is not None and options.k > lister.items:
        say(f"  --k {options.k:,}: the catalogue has {lister.items:,} items; lists hold at most these")
        options = replace(options, k=max(1, lister.items))
    own = sorted(set(lister.specs) - set(contract.request_specs()) - {"k"})
    context: dict[str, str | float] = {}
    for name, value in options.context.items():
        if name not in own:
            raise SpecError(f"--context {name}: the export has no such input; there are {', '.join(own) or 'none'}")
        context[name] = value
        if tf.as_dtype(lister.specs[name].dtype) != tf.string:
            try:
                context[name] = float(value)
            except ValueError:
                raise SpecError(f"--context {name}={value}: is a number in this export") from None
    facts = layout.item_facts(lister.folder) if options.categories else None
    known = {name for row in facts.categories for name in row} if facts is not None else set(options.categories)
    unknown = [name for name in options.categories if name not in known]
    if unknown:
        there = shown(sorted(known)) if known else "none"
        raise SpecError(f"--category {unknown[0]}: no item of the export has it; there are {there}")
    return replace(options, context=context)


def selected(users: KnownEvents, selection: Selection, source: Path, *, new_users: bool) -> KnownEvents:
    """Return the users of a selection, given ones in the order given; those who are not there are told, or are new users.

    Raises:
      DataError: not one is there.
    """
    given = selection.given
    unknown: list[str] = []
    if given is None:
        rows = [row for row, user in enumerate(users.user_ids) if selection.in_shard(user)]
    else:
        position = {user: row for row, user in enumerate(users.user_ids)}
        rows = [position[user] for user in given if user in position]
        unknown = [user for user in given if user not in position]
    if unknown and new_users:
        users = _with_new(users, unknown)
        position |= {user: len(position) + at for at, user in enumerate(unknown)}
        rows = [position[user] for user in given or ()]
        say(f"  {len(unknown):,} users are not in {source} ({shown(unknown)}): they get the list of a new user")
    elif unknown:
        message = f"{len(unknown):,} users are not in {source} ({shown(unknown)})"
        if not rows and selection.shard == (1, 1):
            raise DataError(f"{message}, and no others are asked for; add --new-users for the list of a new user")
        say(f"  {message}: left out; --new-users gives them the list of a new user")
    if not rows and selection.shard == (1, 1):
        raise DataError(f"{source}: no users there")
    return users.take(np.array(rows, np.int64))


def _with_new(users: KnownEvents, new: list[str]) -> KnownEvents:
    """Return the users and, behind them, others of whom nothing is known."""
    inputs = {}
    for name, values in users.inputs.items():
        blank = b"" if values.dtype.kind == "O" else 0 if values.dtype.kind == "i" or name == "diversity" else np.nan
        inputs[name] = np.concatenate([values, np.full([len(new), *values.shape[1:]], blank, values.dtype)])
    starts = np.concatenate([users.starts, np.full(len(new), users.starts[-1])])
    return replace(users, user_ids=[*users.user_ids, *new], starts=starts, inputs=inputs)


def notes(lister: Lister, users: KnownEvents, options: ListOptions) -> Iterator[str]:
    """Yield a line on each thing that is not as one may take it to be."""
    without = int((users.lengths == 0).sum())
    if without:
        yield f"{without:,} users have no event: they get the list of a new user"
    facts = layout.item_facts(lister.folder)
    if facts is not None:
        known = np.isin(users.item_ids.astype(object), [item.encode() for item in facts.ids.tolist()])
        events = known[users.items]
        if not events.all():
            counts = np.diff(np.concatenate([[0], np.cumsum(events)])[users.starts])
            lost = int(((counts == 0) & (users.lengths > 0)).sum())
            yield (
                f"{int((~events).sum()):,} events are of items that the export does not know, and are ignored; "
                f"{lost:,} users have no others and get the list of a new user"
            )
        missing = sorted(set(options.exclude_ids) - set(facts.ids.tolist()))
        if missing:
            yield f"--exclude: {len(missing):,} are no items of the export ({shown(missing)})"
    usual = {*contract.request_specs(), "k", *users.inputs, *options.context}
    for name in sorted(set(lister.specs) - usual):
        yield f"{name}: not known of the users, and sent as unknown; --context {name}=VALUE gives all the same"
