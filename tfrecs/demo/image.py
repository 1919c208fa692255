"""Posters: the image block as palette, shape, texture and layout of a small geometric drawing."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from tfrecs.demo.world import between_levels, nearby_level

SIDE = 112
SCALE = 2  # drawn larger and then reduced, which is how Pillow gets smooth edges
QUALITY = 88

PALETTE, SHAPE, TEXTURE, LAYOUT = range(4)  # what the factors of the image block stand for

# Top and bottom of the background, two colours of the motifs, and ink.
PALETTES = np.array(
    [
        [(92, 18, 44), (222, 66, 52), (255, 204, 130), (255, 138, 101), (40, 8, 28)],
        [(255, 214, 120), (242, 148, 56), (122, 48, 18), (255, 244, 206), (164, 66, 22)],
        [(226, 236, 192), (134, 172, 92), (32, 78, 46), (244, 184, 72), (64, 108, 54)],
        [(8, 62, 76), (34, 146, 144), (198, 244, 228), (252, 172, 112), (4, 38, 48)],
        [(14, 16, 54), (58, 66, 152), (244, 226, 136), (150, 172, 252), (8, 8, 34)],
        [(254, 218, 234), (228, 112, 180), (112, 20, 112), (255, 250, 240), (146, 44, 146)],
    ],
    dtype=np.float64,
)

Motif = tuple[float, float, float]  # centre x, centre y and radius, as shares of the side


def draw_poster(factors: np.ndarray, rng: np.random.Generator) -> bytes:
    """A JPEG of SIDE x SIDE pixels.

    Args:
      factors: float64 [4] in levels: palette, shape, texture and layout.
      rng: draws positions, sizes, turns and small shifts of colour.
    """
    side = SIDE * SCALE
    colours = np.clip(_palette(factors[PALETTE]) + rng.normal(0.0, 7.0, (5, 3)), 0, 255)
    canvas = Image.fromarray(_background(factors[TEXTURE], colours, side, rng))
    draw = ImageDraw.Draw(canvas)
    main, second, ink = (tuple(int(part) for part in colour) for colour in colours[2:])
    layout = nearby_level(factors[LAYOUT], rng)
    for number, (x, y, radius) in enumerate(LAYOUTS[layout](rng)):
        outline = SHAPES[nearby_level(factors[SHAPE], rng)]
        turn = rng.normal(0.0, 0.12)
        points = _placed(outline, x, y, radius, turn) * side
        shadow = points + radius * side * 0.16
        if layout == SKYLINE:
            width = radius * side * 0.5
            draw.rectangle((x * side - width, y * side, x * side + width, side), fill=ink)
        draw.polygon([tuple(point) for point in shadow], fill=ink)
        draw.polygon([tuple(point) for point in points], fill=second if number % 3 == 1 else main)
        core = _placed(outline, x, y, radius * 0.45, turn) * side
        draw.polygon([tuple(point) for point in core], fill=main if number % 3 == 1 else second)
    buffer = io.BytesIO()
    canvas.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _palette(factor: float) -> np.ndarray:
    low, high, share = between_levels(factor)
    return (1.0 - share) * PALETTES[low] + share * PALETTES[high]


def _background(factor: float, colours: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [side, side, 3]: a gradient from top to bottom, made lighter and darker by the texture."""
    down = np.linspace(0.0, 1.0, side)[:, None, None]
    gradient = np.broadcast_to((1.0 - down) * colours[0] + down * colours[1], (side, side, 3))
    y, x = np.mgrid[0:side, 0:side] / side
    pattern = TEXTURES[nearby_level(factor, rng)](x, y, rng)
    return np.clip(gradient + 26.0 * pattern[..., None], 0, 255).astype(np.uint8)


def _plain(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.6 - 2.0 * np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.3, 0.7))


def _waves(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * (rng.uniform(8, 10) * y + 0.35 * np.sin(2 * np.pi * (2.5 * x + rng.random()))))


def _stripes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where((rng.uniform(6, 8) * (x + y) + rng.random()) % 1.0 < 0.5, 1.0, -1.0)


def _dots(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.uniform(8, 10)
    return np.where(np.hypot((count * x) % 1.0 - 0.5, (count * y) % 1.0 - 0.5) < 0.3, 1.6, -0.5)


def _checks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = rng.uniform(4, 5)
    return np.where((np.floor(2 * count * x) + np.floor(2 * count * y)) % 2 < 1, 1.0, -1.0)


def _grain(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cells = 56
    noise = rng.normal(0.0, 1.0, (cells, cells))
    return noise[(y * cells).astype(int), (x * cells).astype(int)]


def _one(rng: np.random.Generator) -> list[Motif]:
    return [(0.5 + rng.normal(0, 0.02), 0.48 + rng.normal(0, 0.02), rng.uniform(0.31, 0.37))]


def _ring(rng: np.random.Generator) -> list[Motif]:
    count, start = int(rng.integers(6, 9)), rng.uniform(0, 2 * np.pi)
    angles = start + 2 * np.pi * np.arange(count) / count
    return [(0.5 + 0.33 * np.cos(angle), 0.5 + 0.33 * np.sin(angle), 0.75 / count) for angle in angles]


def _grid(rng: np.random.Generator) -> list[Motif]:
    radius = rng.uniform(0.1, 0.13)
    return [(x, y, radius) for y in (0.2, 0.5, 0.8) for x in (0.2, 0.5, 0.8)]


def _diagonal(rng: np.random.Generator) -> list[Motif]:
    steps = np.linspace(0.0, 1.0, int(rng.integers(4, 6)))
    return [(0.16 + 0.62 * step, 0.84 - 0.6 * step, 0.07 + 0.12 * step + rng.uniform(0, 0.02)) for step in steps]


def _skyline(rng: np.random.Generator) -> list[Motif]:
    return [(x, rng.uniform(0.5, 0.78), rng.uniform(0.085, 0.11)) for x in np.linspace(0.1, 0.9, 5)]


def _scatter(rng: np.random.Generator) -> list[Motif]:
    """Dart throwing: the best of some random places for each of a dozen small motifs."""
    places = [rng.uniform(0.08, 0.92, 2)]
    while len(places) < 12:
        tries = rng.uniform(0.08, 0.92, (16, 2))
        gaps = np.min([np.hypot(*(tries - place).T) for place in places], axis=0)
        places.append(tries[int(np.argmax(gaps))])
    return [(x, y, rng.uniform(0.05, 0.085)) for x, y in places]


def _regular(corners: int, inner: float | None = None) -> np.ndarray:
    """A regular polygon on the unit circle, or a star whose inner corners lie on the circle of radius `inner`."""
    count = corners if inner is None else 2 * corners
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radius = np.ones(count) if inner is None else np.where(np.arange(count) % 2 == 0, 1.0, inner)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _leaf() -> np.ndarray:
    along = np.linspace(-1.0, 1.0, 24)
    width = 0.5 * (1.0 - along * along)
    return np.concatenate([np.stack([width, along], 1), np.stack([-width, along], 1)[::-1]]) * 1.15


def _cross() -> np.ndarray:
    arm, edge = 0.34, 0.98
    corner = np.array([(arm, arm), (edge, arm), (edge, -arm)])
    turns = (np.array([[np.cos(q), -np.sin(q)], [np.sin(q), np.cos(q)]]) for q in -np.pi / 2 * np.arange(4))
    return np.concatenate([corner @ turn.T for turn in turns])


def _placed(outline: np.ndarray, x: float, y: float, radius: float, turn: float) -> np.ndarray:
    turned = outline @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return turned * radius + np.array([x, y])


TEXTURES: tuple[Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray], ...] = (
    _plain,
    _waves,
    _stripes,
    _dots,
    _checks,
    _grain,
)
LAYOUTS: tuple[Callable[[np.random.Generator], list[Motif]], ...] = (_one, _ring, _grid, _diagonal, _skyline, _scatter)
SKYLINE = LAYOUTS.index(_skyline)
SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.84
SHAPES = (_regular(48), _leaf(), _regular(3) * 1.15, SQUARE, _regular(5, inner=0.42) * 1.15, _cross())
