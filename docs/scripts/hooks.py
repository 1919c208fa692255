"""mkdocs hooks: replace `<!-- generate: NAME -->` by Markdown made from the code or from the result files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import benchmark_tables
import configuration
import dataset_yaml

GENERATORS: dict[str, Callable[[], str]] = {
    "configuration": configuration.page,
    "dataset_yaml": dataset_yaml.page,
    **benchmark_tables.TABLES,
}

_MARKER = re.compile(r"^<!-- generate: ([\w-]+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the generated parts of a page."""
    return expand(markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Empty cells where an option has no default: mkdocs-click 0.9 prints click's own marker for "not set"."""
    return html.replace("<code>Sentinel.UNSET</code>", "")


def expand(markdown: str) -> str:
    """Replace every marker of a Markdown text. Raises KeyError for a name without a generator."""
    return _MARKER.sub(lambda match: GENERATORS[match[1]](), markdown)
