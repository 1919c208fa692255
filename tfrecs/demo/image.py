"""Posters: the image block as palette, shape, texture and layout of a small geometric drawing."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from tfrecs.demo import exact
from tfrecs.demo.world import between_levels, nearby_level

SIDE = 112
SCALE = 2  # drawn larger and then reduced, for smooth edges
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


def draw_poster(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels of a poster, uint8 [SIDE, SIDE, 3].

    Drawn without Pillow, whose polygons and reductions differ between its versions.

    Args:
      factors: float64 [4] in levels: palette, shape, texture and layout.
      rng: draws positions, sizes, turns and small shifts of colour.
    """
    side = SIDE * SCALE
    colours = np.clip(_palette(factors[PALETTE]) + 7.0 * exact.normal(rng, (5, 3)), 0, 255)
    canvas = _background(factors[TEXTURE], colours, side, rng)
    main, second, ink = colours[2:].astype(np.uint8)
    layout = nearby_level(factors[LAYOUT], rng)
    for number, (x, y, radius) in enumerate(LAYOUTS[layout](rng)):
        outline = SHAPES[nearby_level(factors[SHAPE], rng)]
        turn = float(0.12 * exact.normal(rng))
        points = _placed(outline, x, y, radius, turn) * side
        shadow = points + radius * side * 0.16
        if layout == SKYLINE:
            width = radius * side * 0.5
            left, right = x * side - width, x * side + width
            _fill(canvas, np.array([(left, y * side), (right, y * side), (right, side), (left, side)]), ink)
        _fill(canvas, shadow, ink)
        _fill(canvas, points, second if number % 3 == 1 else main)
        core = _placed(outline, x, y, radius * 0.45, turn) * side
        _fill(canvas, core, main if number % 3 == 1 else second)
    return _reduced(canvas)


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """A JPEG of uint8 [H, W, 3]: the same bytes from every libjpeg-turbo, which is what Pillow's wheels bundle."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _fill(canvas: np.ndarray, corners: np.ndarray, colour: np.ndarray) -> None:
    """Fills a polygon, corners [P, 2] as (x, y) in pixels, by the even-odd rule at the centres of the pixels."""
    first = np.clip(np.floor(corners.min(axis=0)), 0, len(canvas)).astype(int)
    box = canvas[first[1] : max(int(corners[:, 1].max()) + 1, 0), first[0] : max(int(corners[:, 0].max()) + 1, 0)]
    height, width = box.shape[:2]
    (x, y), (next_x, next_y) = (corners - first).T, (np.roll(corners, -1, axis=0) - first).T
    middle = np.arange(height)[:, None] + 0.5
    row, edge = np.nonzero((y <= middle) != (next_y <= middle))
    share = (middle[row, 0] - y[edge]) / (next_y[edge] - y[edge])
    column = np.clip(np.ceil(x[edge] + share * (next_x[edge] - x[edge]) - 0.5), 0, width).astype(int)
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).reshape(height, width + 1)
    box[crossings[:, :-1].cumsum(axis=1) % 2 == 1] = colour


def _reduced(canvas: np.ndarray) -> np.ndarray:
    """Means of SCALE x SCALE pixels, rounded."""
    side = len(canvas) // SCALE
    sums = canvas.astype(np.int64).reshape(side, SCALE, side, SCALE, 3).sum(axis=(1, 3))
    return ((sums + SCALE * SCALE // 2) // (SCALE * SCALE)).astype(np.uint8)


def _palette(factor: float) -> np.ndarray:
    low, high, share = between_levels(factor)
    return (1.0 - share) * PALETTES[low] + share * PALETTES[high]


def _background(factor: float, colours: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [side, side, 3]: a gradient from top to bottom, made lighter and darker by the texture."""
    down = (np.arange(side) / (side - 1))[:, None, None]
    gradient = np.broadcast_to((1.0 - down) * colours[0] + down * colours[1], (side, side, 3))
    y, x = np.mgrid[0:side, 0:side] / side
    pattern = TEXTURES[nearby_level(factor, rng)](x, y, rng)
    return np.clip(gradient + 26.0 * pattern[..., None], 0, 255).astype(np.uint8)


def _plain(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.6 - 2.0 * exact.length(x - exact.uniform(rng, 0.3, 0.7), y - exact.uniform(rng, 0.3, 0.7))


def _waves(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, start = exact.uniform(rng, 8, 10), rng.random()
    return exact.sin(2 * np.pi * (count * y + 0.35 * exact.sin(2 * np.pi * (2.5 * x + start))))


def _stripes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where((exact.uniform(rng, 6, 8) * (x + y) + rng.random()) % 1.0 < 0.5, 1.0, -1.0)


def _dots(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = exact.uniform(rng, 8, 10)
    return np.where(exact.length((count * x) % 1.0 - 0.5, (count * y) % 1.0 - 0.5) < 0.3, 1.6, -0.5)


def _checks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = exact.uniform(rng, 4, 5)
    return np.where((np.floor(2 * count * x) + np.floor(2 * count * y)) % 2 < 1, 1.0, -1.0)


def _grain(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cells = 56
    noise = exact.normal(rng, (cells, cells))
    return noise[(y * cells).astype(int), (x * cells).astype(int)]


def _one(rng: np.random.Generator) -> list[Motif]:
    x, y = np.array([0.5, 0.48]) + 0.02 * exact.normal(rng, (2,))
    return [(x, y, exact.uniform(rng, 0.31, 0.37))]


def _ring(rng: np.random.Generator) -> list[Motif]:
    count, start = int(rng.integers(6, 9)), exact.uniform(rng, 0, 2 * np.pi)
    angles = start + 2 * np.pi * np.arange(count) / count
    places = zip(0.5 + 0.33 * exact.cos(angles), 0.5 + 0.33 * exact.sin(angles), strict=True)
    return [(x, y, 0.75 / count) for x, y in places]


def _grid(rng: np.random.Generator) -> list[Motif]:
    radius = exact.uniform(rng, 0.1, 0.13)
    return [(x, y, radius) for y in (0.2, 0.5, 0.8) for x in (0.2, 0.5, 0.8)]


def _diagonal(rng: np.random.Generator) -> list[Motif]:
    count = int(rng.integers(4, 6))
    steps = np.arange(count) / (count - 1)
    return [(0.16 + 0.62 * step, 0.84 - 0.6 * step, 0.07 + 0.12 * step + exact.uniform(rng, 0, 0.02)) for step in steps]


def _skyline(rng: np.random.Generator) -> list[Motif]:
    return [(x, exact.uniform(rng, 0.5, 0.78), exact.uniform(rng, 0.085, 0.11)) for x in (0.1, 0.3, 0.5, 0.7, 0.9)]


def _scatter(rng: np.random.Generator) -> list[Motif]:
    """Dart throwing: the best of some random places for each of a dozen small motifs."""
    places = [exact.uniform(rng, 0.08, 0.92, 2)]
    while len(places) < 12:
        tries = exact.uniform(rng, 0.08, 0.92, (16, 2))
        gaps = np.min([exact.length(*(tries - place).T) for place in places], axis=0)
        places.append(tries[int(np.argmax(gaps))])
    return [(x, y, exact.uniform(rng, 0.05, 0.085)) for x, y in places]


def _regular(corners: int, inner: float | None = None) -> np.ndarray:
    """A regular polygon on the unit circle, or a star whose inner corners lie on the circle of radius `inner`."""
    count = corners if inner is None else 2 * corners
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    radius = np.ones(count) if inner is None else np.where(np.arange(count) % 2 == 0, 1.0, inner)
    return np.stack([radius * exact.cos(angles), radius * exact.sin(angles)], axis=1)


def _leaf() -> np.ndarray:
    along = 2.0 * np.arange(24) / 23 - 1.0
    width = 0.5 * (1.0 - along * along)
    return np.concatenate([np.stack([width, along], 1), np.stack([-width, along], 1)[::-1]]) * 1.15


def _cross() -> np.ndarray:
    arm, edge = 0.34, 0.98
    corner = np.array([(arm, arm), (edge, arm), (edge, -arm)])
    return np.concatenate([_turned(corner, quarter * -np.pi / 2) for quarter in range(4)])


def _placed(outline: np.ndarray, x: float, y: float, radius: float, turn: float) -> np.ndarray:
    return _turned(outline, turn) * radius + np.array([x, y])


def _turned(outline: np.ndarray, angle: float) -> np.ndarray:
    x, y = outline.T
    sine, cosine = exact.sin(angle), exact.cos(angle)
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1)


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
