"""What `make docs` generates is whole, and what was generated into the repository is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from markdown_pages import REPO


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules of docs/scripts, importable."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(REPO / "docs" / "scripts"))
    yield
    for name in set(sys.modules) - before:
        if str(REPO / "docs" / "scripts") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_figures_are_those_of_their_script() -> None:
    import figures

    for name, draw in figures.FIGURES.items():
        assert (figures.IMAGES / name).read_text(encoding="utf-8") == draw().svg(), (
            f"run docs/scripts/figures.py ({name})"
        )


def test_every_option_has_a_meaning() -> None:
    import configuration
    from docstrings import meaning

    from pipelines.config import Config

    sections = dict([("", Config), *configuration.sections()])
    without = [
        f"{section}.{name}"
        for section, model in sections.items()
        for name in model.model_fields
        if (f"{section}.{name}".lstrip(".")) not in sections and not meaning(model, name)
    ]
    assert not without


def test_the_reference_names_every_option_with_its_default() -> None:
    import configuration

    page = configuration.page()
    assert "## `serve.batching`" in page
    assert "| `learning_rate` | `0.003` |" in page
    assert "| `strategy` | `auto` | `auto` \\| `cpu`" in page


def test_the_reference_of_the_specification_names_its_keys() -> None:
    import dataset_yaml

    page = dataset_yaml.page()
    assert "| `cold_items` | `0.0` | float, ≥ 0, < 1 |" in page
    assert "see `interactions.positive`" in page


def test_every_result_file_is_readable_as_tables() -> None:
    import benchmark_tables

    for name, make in benchmark_tables.TABLES.items():
        text = make()
        assert text == benchmark_tables.NOT_MEASURED or text.count("|") > 10, name


def test_markers_are_expanded_and_unknown_ones_refused() -> None:
    import hooks

    assert "| `seed` | `0` |" in hooks.expand("before\n\n<!-- generate: configuration -->\n")
    with pytest.raises(KeyError):
        hooks.expand("<!-- generate: nothing -->")
