"""Converts pictures that servers cannot read: TensorFlow's own ops have no decoder of WebP."""

from __future__ import annotations

import io
from typing import Any

from serving.wire.errors import InvalidRequestError


def readable(name: str, value: Any) -> Any:
    """Return a raw value of `embed_items` as a server reads it: WebP as PNG, anything else as it is.

    Args:
      name: of the input.
      value: bytes of a file, or anything else.

    Raises:
      InvalidRequestError: a WebP file that cannot be converted.
    """
    if not isinstance(value, bytes) or value[:4] != b"RIFF" or value[8:12] != b"WEBP":
        return value
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise InvalidRequestError(
            f"input {name}: servers read no WebP; install Pillow, with which the client converts it, or send JPEG or PNG"
        ) from error
    converted = io.BytesIO()
    try:
        with Image.open(io.BytesIO(value), formats=["WEBP"]) as picture:
            ImageOps.exif_transpose(picture).save(converted, "PNG")
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them stumble over.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidRequestError(f"input {name}: not a readable WebP picture ({reason})") from error
    return converted.getvalue()
