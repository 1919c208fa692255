"""Whether the user tower adds the mean of a history, where the configuration leaves it to the data."""

from __future__ import annotations

import pytest

from pipelines.config import load_config
from pipelines.model.model_factory import resolve_config
from tests.helpers import small_model


@pytest.mark.parametrize(("ordered", "average"), [(True, False), (False, True)])
def test_the_mean_is_added_where_events_have_no_order(ordered: bool, average: bool) -> None:
    schema = small_model.SCHEMA.model_copy(update={"ordered": ordered})
    assert resolve_config(load_config(), schema).user.average is average
    said = load_config(changes=[f"user.average={not average}".lower()])
    assert resolve_config(said, schema).user.average is not average


def test_what_goes_on_from_an_earlier_model_has_what_that_had() -> None:
    schema = small_model.SCHEMA.model_copy(update={"ordered": False})
    assert resolve_config(load_config(changes=["train.warm_start=run"]), schema).user.average is False
