"""Items of records as people see them: short descriptors for comparing, and one HTML page to look at."""

from __future__ import annotations

import base64
import html
import io
import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tfrecs.schema import FeatureSchema, Manifest

_WORDS = 512  # Width of a hashed bag of words.


def descriptors(schema: FeatureSchema, values: np.ndarray) -> np.ndarray:
    """Decoded values [N, ...] -> float32 [N, d], whose cosine says how alike two items are in this feature.

    Strings: hashed words, the common ones counting less. Pictures: centred 8 x 8 thumbnails. Long rows of numbers
    (sound): the shape of their spectrum over the clip. Short ones as they are.
    """
    if values.dtype.kind in "OSU":
        return _bags(values)
    if values.ndim == 4:
        small = _pooled(_pooled(values.astype(np.float32), 8, 1), 8, 2).reshape(len(values), -1)
        return small - small.mean(axis=1, keepdims=True)
    flat = values.reshape(len(values), -1).astype(np.float32)
    if flat.shape[1] <= 2048:
        return flat
    frames = flat[:, : flat.shape[1] // 16 * 16].reshape(len(flat), 16, -1)
    power = np.abs(np.fft.rfft(frames, axis=-1)).astype(np.float32)[..., 1:]
    edges = np.unique(np.geomspace(1, power.shape[-1], 13).astype(int))
    bands = [power[..., low:high].mean(axis=-1) for low, high in itertools.pairwise(edges)]
    return np.log1p(np.stack(bands, axis=-1)).reshape(len(flat), -1)


def _bags(values: np.ndarray) -> np.ndarray:
    bags = np.zeros([len(values), _WORDS], np.float32)
    for row, value in enumerate(values.reshape(len(values), -1)):
        for word in b" ".join(value).lower().split():
            bags[row, zlib.crc32(word) % _WORDS] += 1
    return bags * np.log((1 + len(bags)) / (1 + (bags > 0).sum(axis=0)))


def _pooled(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    edges = np.linspace(0, values.shape[axis], size + 1).astype(int)
    parts = [values.take(range(low, high), axis=axis).mean(axis=axis) for low, high in itertools.pairwise(edges)]
    return np.stack(parts, axis=axis)


def _picture(schema: FeatureSchema, value: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(value).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(schema.name)}" src="data:image/png;base64,{data}">'


def _waveform(schema: FeatureSchema, value: np.ndarray) -> str:
    """Lowest and highest sample of each of 200 pieces, drawn; and the sound itself to play."""
    pieces = np.array_split(value, 200)
    lines = "".join(
        f"M{at} {50 - 48 * float(piece.max()):.1f}V{50 - 48 * float(piece.min()) + 0.5:.1f}"
        for at, piece in enumerate(pieces)
    )
    return (
        f'<svg viewBox="0 0 200 100" preserveAspectRatio="none" role="img" aria-label="{html.escape(schema.name)}">'
        f'<path d="{lines}"/></svg>'
    )


def _text(schema: FeatureSchema, value: np.ndarray) -> str:
    return f"<p>{html.escape(bytes(value.item()).decode('utf-8', 'replace'))}</p>"


def _several(schema: FeatureSchema, value: np.ndarray) -> str:
    words = (html.escape(one.decode("utf-8", "replace")) for one in value.tolist() if one)
    return "<p>" + "".join(f"<span>{word}</span>" for word in words) + "</p>"


def _numbers(schema: FeatureSchema, value: np.ndarray) -> str:
    flat = value.reshape(-1)
    shown = ", ".join(f"{number:.3g}" for number in flat[:8])
    return f"<p>{shown}{f', ... ({len(flat)} numbers)' if len(flat) > 8 else ''}</p>"


# By the form of a decoded value, so that a new kind of one of these forms needs no row here.
_RENDERERS: tuple[tuple[Callable[[np.ndarray], bool], Callable[[FeatureSchema, np.ndarray], str]], ...] = (
    (lambda value: value.dtype == np.uint8 and value.ndim == 3, _picture),
    (lambda value: value.dtype.kind in "OS" and value.ndim == 0, _text),
    (lambda value: value.dtype.kind in "OS", _several),
    (lambda value: value.ndim == 1 and value.size > 2048, _waveform),
    (lambda value: True, _numbers),
)


def rendered(schema: FeatureSchema, value: Any) -> str:
    """One decoded value as HTML."""
    array = np.asarray(value)
    return next(show for fits, show in _RENDERERS if fits(array))(schema, array)


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
    """One HTML page that needs nothing from elsewhere.

    Args:
      warnings: lines.
      items: (id, title, feature -> decoded value; a missing one is absent).
      events: item id -> positive training events.
    """
    schema = manifest.schema_
    splits = "".join(
        f"<tr><td>{name}</td><td class=n>{info.users:,}</td><td class=n>{info.events:,}</td></tr>"
        for name, info in manifest.splits.items()
    )
    features = "".join(
        f"<tr><td>{html.escape(f.name)}</td><td>{html.escape(f.kind)}</td>"
        f"<td class=n>{manifest.coverage[f.name]:.1%}</td></tr>"
        for f in schema.items
    )
    said = "".join(f"<li>{html.escape(line)}</li>" for line in warnings) or "<li>none</li>"
    cards = []
    for item_id, title, values in items:
        rows = "".join(
            f"<dt>{html.escape(feature.name)}</dt><dd>"
            + (rendered(feature, values[feature.name]) if feature.name in values else '<p class="missing">missing</p>')
            + "</dd>"
            for feature in schema.items
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
        f"<h2>Warnings</h2><ul>{said}</ul>"
        f"<h2>Features and splits</h2><table><tr><th>feature<th>kind<th>items that have it</tr>{features}</table><br>"
        f"<table><tr><th>split<th>users<th>events</tr>{splits}</table>"
        f"<h2>{len(items)} items</h2><main>{''.join(cards)}</main></html>\n"
    )
