"""Reads picture files with Pillow, and describes pictures by colours and edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tfrecs.errors import DataError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


def read_rgb(path: Path, side: int) -> Image.Image:
    """Read a picture, upright, as RGB; of an animation the first frame; transparent parts become white.

    Args:
      path: JPEG, PNG, GIF, BMP or WebP, by content whatever the name says.
      side: pixels of each side after the caller's resize. JPEG is decoded at a half, quarter or eighth of its size
        where at least twice as many pixels are left, which is several times faster and makes no visible difference.

    Raises:
      DataError: no such file, not a picture of these formats, broken, cut short, or of more pixels than
        `PIL.Image.MAX_IMAGE_PIXELS` (a small file may unfold to any number of them).
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and picture.width * picture.height > limit:
                raise DataError(
                    f"{path.name}: {picture.width} x {picture.height} pixels, more than {limit}; scale it down"
                )
            picture.draft(None, (2 * side, 2 * side))
            picture.load()
            return _rgb(ImageOps.exif_transpose(picture))
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path.name}: not a picture in {', '.join(FORMATS)}") from error
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror or _line(error)})") from error
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them stumble over.
        raise DataError(f"{path.name}: not a readable picture ({_line(error)})") from error


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits a channel, which Pillow's `convert` cuts off at 255.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        canvas = Image.new("RGBA", picture.size, "white")
        canvas.alpha_composite(picture.convert("RGBA"))
        return canvas.convert("RGB")
    return picture.convert("RGB")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def colours_and_edges(pixels: np.ndarray) -> np.ndarray:
    """Describe pictures by a histogram of colours and histograms of oriented gradients.

    Colours have four steps per channel; gradients nine directions in each of 4 x 4 cells (Dalal and Triggs, CVPR 2005).
    Both parts have sum 1.

    Args:
      pixels: [B, S, S, 3], 0 to 255.

    Returns:
      float [B, 4 * 4 * 4 + 4 * 4 * 9].
    """
    pixels = np.asarray(pixels, np.float64)
    count, side = pixels.shape[:2]
    steps = np.minimum(pixels // 64, 3).astype(int)
    colour = steps[..., 0] * 16 + steps[..., 1] * 4 + steps[..., 2]
    down, across = np.gradient(pixels.mean(axis=-1), axis=(1, 2))
    strength = np.hypot(down, across)
    direction = np.minimum((np.arctan2(down, across) % np.pi) / np.pi * 9, 8).astype(int)
    cell = np.arange(side) * 4 // side
    edge = (cell[:, None] * 4 + cell[None, :]) * 9 + direction
    result = np.zeros((count, 64 + 144))
    for row in range(count):
        result[row, :64] = np.bincount(colour[row].ravel(), minlength=64) / side**2
        edges = np.bincount(edge[row].ravel(), strength[row].ravel(), minlength=144)
        result[row, 64:] = edges / max(edges.sum(), 1e-9)
    return result
