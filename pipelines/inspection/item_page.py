"""The HTML page of `triptych inspect --html`: counts, warnings, and items with their features."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from tfrecs.reading.features import features_for
from tfrecs.schema import Manifest

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0;
  text-align: left; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
article { border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; padding: .75rem; }
article h3 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; } small { opacity: .7; }
dl { margin: 0; } dt { font-size: .75rem; margin-top: .5rem; opacity: .7; } dd { margin: 0; }
dd p { margin: 0; max-height: 9em; overflow: auto; overflow-wrap: anywhere; }
dd img { display: block; width: 100%; max-width: 12rem; border-radius: .25rem; }
dd span { border: 1px solid var(--line); border-radius: 1rem; display: inline-block; font-size: .8rem;
  margin: 0 .25rem .25rem 0; padding: 0 .5rem; }
svg { display: block; height: 4rem; width: 100%; } svg path { stroke: #47a; stroke-width: 1; }
.missing { opacity: .5; font-style: italic; }
"""


def page(
    manifest: Manifest,
    warnings: Sequence[str],
    items: Sequence[tuple[str, str, Mapping[str, Any]]],
    events: Mapping[str, int],
) -> str:
    """Render one self-contained HTML page.

    Args:
      manifest: of the records.
      warnings: one line each.
      items: (id, title, feature -> decoded value, without the missing ones) of the items to show.
      events: item id -> number of positive training events.
    """
    schema = manifest.schema_
    features = features_for(schema.items)
    splits = "".join(
        f"<tr><td>{name}</td><td class=n>{info.users:,}</td><td class=n>{info.events:,}</td></tr>"
        for name, info in manifest.splits.items()
    )
    coverage = "".join(
        f"<tr><td>{html.escape(f.name)}</td><td>{html.escape(f.kind)}</td>"
        f"<td class=n>{manifest.coverage[f.name]:.1%}</td></tr>"
        for f in schema.items
    )
    warning_lines = "".join(f"<li>{html.escape(line)}</li>" for line in warnings) or "<li>none</li>"
    cards = []
    for item_id, title, values in items:
        rows = "".join(
            f"<dt>{html.escape(feature.name)}</dt><dd>"
            + (feature.render(values[feature.name]) if feature.name in values else '<p class="missing">missing</p>')
            + "</dd>"
            for feature in features
        )
        heading = (
            f"{html.escape(title or item_id)} <small>{html.escape(item_id)}, {events.get(item_id, 0):,} events</small>"
        )
        cards.append(f"<article><h3>{heading}</h3><dl>{rows}</dl></article>")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(manifest.name)}: records</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{html.escape(manifest.name)}: {manifest.items:,} items, {manifest.users:,} users, "
        f"{manifest.interactions:,} interactions</h1><p>{html.escape(manifest.protocol)}</p>"
        f"<h2>Warnings</h2><ul>{warning_lines}</ul>"
        f"<h2>Features and splits</h2><table><tr><th>feature<th>kind<th>items that have it</tr>{coverage}</table><br>"
        f"<table><tr><th>split<th>users<th>events</tr>{splits}</table>"
        f"<h2>{len(items)} items</h2><main>{''.join(cards)}</main></html>\n"
    )
