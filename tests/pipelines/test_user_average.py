"""Whether the user tower adds the mean of a history, where the configuration leaves it to the data."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_model

from pipelines.config import load_config
from pipelines.model.model_factory import resolve_config
from pipelines.runs.run_folder import CONFIG_FILE, RUN_FILE
from pipelines.training.loop import TrainJob, _average_before


@pytest.mark.parametrize(("ordered", "average"), [(True, False), (False, True)])
def test_the_mean_is_added_where_events_have_no_order(ordered: bool, average: bool) -> None:
    schema = small_model.SCHEMA.model_copy(update={"ordered": ordered})
    assert resolve_config(load_config(), schema).user.average is average
    said = load_config(changes=[f"user.average={not average}".lower()])
    assert resolve_config(said, schema).user.average is not average


@pytest.mark.parametrize("average", [True, False])
def test_what_goes_on_from_an_earlier_model_has_what_that_had(average: bool) -> None:
    for ordered in (True, False):
        schema = small_model.SCHEMA.model_copy(update={"ordered": ordered})
        assert resolve_config(load_config(), schema, average).user.average is average


@pytest.mark.parametrize(
    ("written", "average"), [("user: {average: true}", True), ("user: {average: false}", False), ("seed: 1", False)]
)
def test_a_run_that_is_continued_or_started_from_says_so_itself(tmp_path: Path, written: str, average: bool) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / CONFIG_FILE).write_text(written)
    (earlier / RUN_FILE).write_text("{}")
    assert _average_before(TrainJob(tmp_path, earlier, load_config())) is average
    started = load_config(changes=[f"train.warm_start={earlier}"])
    assert _average_before(TrainJob(tmp_path, tmp_path / "new", started)) is average
    assert _average_before(TrainJob(tmp_path, tmp_path / "new", load_config())) is None
