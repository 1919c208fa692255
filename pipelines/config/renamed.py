"""Earlier names of options, which command lines, files and older runs may still use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrecs.errors import SpecError

RENAMED = {
    "text.layers": "text.num_layers",
    "text.heads": "text.num_heads",
    "text.width": "text.hidden_dim",
    "text.feed_forward": "text.intermediate_dim",
    "image.widths": "image.filters",
    "audio.widths": "audio.filters",
    "vector.width": "vector.hidden_dim",
    "categories.width": "categories.hidden_dim",
    "number.width": "number.hidden_dim",
    "user.width": "user.hidden_dim",
    "user.layers": "user.num_layers",
    "user.heads": "user.num_heads",
    "user.feed_forward": "user.intermediate_dim",
    "user.history": "user.max_history",
    "user.values": "user.use_values",
    "user.gaps": "user.use_time_gaps",
    "ranking.cross_layers": "ranking.num_cross_layers",
    "ranking.hidden": "ranking.hidden_dim",
    "retrieval.queries": "retrieval.queries_per_batch",
    "retrieval.query_share": "retrieval.query_rate",
    "retrieval.own_query_share": "retrieval.own_query_rate",
    "cooccurrence.batch": "cooccurrence.batch_size",
    "cooccurrence.neighbours": "cooccurrence.num_neighbours",
    "cooccurrence.least_events": "cooccurrence.min_events",
    "hybrid.new_links": "hybrid.cold_links",
    "pretrain.batch": "pretrain.batch_size",
    "pretrain.width": "pretrain.projection_dim",
    "pretrain.mask_share": "pretrain.mask_rate",
    "pretrain.mask_weight": "pretrain.mask_loss_weight",
    "inspect.likeness": "inspect.min_cosine",
    "train.batch": "train.batch_size",
    "train.continued": "train.warm_start",
    "train.continued_epochs": "train.warm_start_epochs",
    "train.least_epochs": "train.min_epochs",
    "train.averaging": "train.ema_momentum",
    "train.encode_batch": "train.encode_batch_size",
    "train.jit": "train.jit_compile",
}


def current_name(option: str) -> str:
    """Today's name of an option `section.key`."""
    return RENAMED.get(option, option)


def with_current_names(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Rename the options of a configuration as plain values, those in `tune.space` too.

    Raises:
      SpecError: an option is given under both of its names.
    """
    result = dict(values)
    for section, options in values.items():
        if isinstance(options, Mapping):
            named = current_names({f"{section}.{key}": value for key, value in options.items()}, source)
            result[section] = {name.removeprefix(f"{section}."): value for name, value in named.items()}
    tune = result.get("tune")
    if isinstance(tune, Mapping) and isinstance(tune.get("space"), Mapping):
        result["tune"] = {**tune, "space": current_names(tune["space"], source)}
    return result


def current_names(options: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Rename the keys `section.key` of a mapping.

    Raises:
      SpecError: an option is given under both of its names.
    """
    result: dict[str, Any] = {}
    for name, value in options.items():
        current = current_name(name)
        if current in result or (current != name and current in options):
            raise SpecError(f"{source}: {name} is another name of {current}; give one of them")
        result[current] = value
    return result
