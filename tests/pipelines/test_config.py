"""Options that were renamed: the earlier names still work, in files, on command lines and in search spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import Config, load_config, validate
from pipelines.config.renamed import RENAMED
from pipelines.tuning.tune_space import changed, make_space
from tfrecs.errors import SpecError


def option(config: Config, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


@pytest.mark.parametrize(("earlier", "current"), RENAMED.items())
def test_an_earlier_name_sets_the_option_of_today(earlier: str, current: str, tmp_path: Path) -> None:
    default = option(Config(), current)
    value = {bool: not default, tuple: [8], type(None): "a/run"}.get(type(default))
    if value is None:
        value = default * 2 if isinstance(default, int) else default / 2
    expected = tuple(value) if isinstance(value, list) else value
    assert option(load_config(None, [f"{earlier}={yaml.safe_dump(value)}"]), current) == expected
    section, key = earlier.split(".")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({section: {key: value}}))
    assert option(load_config(file), current) == expected
    assert option(load_config(file, [f"{current}={yaml.safe_dump(default)}"]), current) == default


def test_a_configuration_is_written_with_the_names_of_today() -> None:
    text = load_config(None, ["user.width=32"]).to_yaml()
    assert yaml.safe_load(text)["user"]["hidden_dim"] == 32
    assert "width" not in yaml.safe_load(text)["user"]


def test_an_option_under_both_names_is_refused() -> None:
    with pytest.raises(SpecError, match=r"here: user\.width is another name of user\.hidden_dim; give one of them"):
        validate({"user": {"hidden_dim": 8, "width": 16}}, "here")


def test_a_search_space_may_use_earlier_names() -> None:
    config = load_config(None, ["tune.space={user.width: {choices: [16, 32]}}"])
    assert list(config.tune.space) == ["user.hidden_dim"]
    assert list(make_space({"user.layers": {"low": 1, "high": 2}}, config, "here")) == ["user.num_layers"]
    assert changed(config, {"user.width": 16}, "here").user.hidden_dim == 16
