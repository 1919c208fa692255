"""Reads vectors that a cell holds as text: `[0.1, 0.2]`, `0.1 0.2`, `0.1;0.2`, numpy's and PyTorch's own forms."""

from __future__ import annotations

import re

import numpy as np

from tfrecs.errors import DataError, shorten

_CALL = re.compile(
    r"(?:[\w.]+\.)?(?:array|tensor|Tensor|ndarray)\((.*?)(?:,\s*(?:dtype|device|requires_grad)=.*)?\)", re.S
)
_SCALAR = re.compile(r"\b(?:np|numpy)\.\w+\(([^()]*)\)")  # np.float32(0.1): numpy 2 in a list.
_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_MISSING = ("nan", "none", "null", "na", "n/a", "<na>")


def vector_in(text: str) -> np.ndarray:
    """Read a vector: numbers separated by `;`, `|`, `,` or blanks, with or without brackets; NaN, None and null are NaN.

    With `;` between them, numbers may have a decimal comma.

    Returns:
      float64 [width]; width 0 for an empty list, one NaN where the text says that there is none.

    Raises:
      DataError: it is none, with the reason.
    """
    bare = text.strip()
    if match := _CALL.fullmatch(bare):
        bare = match.group(1).strip()
    bare = _SCALAR.sub(r"\1", bare)
    if bare[:1] + bare[-1:] in ("[]", "()"):
        bare = bare[1:-1].strip()
    if "[" in bare or "(" in bare:
        raise DataError(f"{shorten(text)} is not one list of numbers; it has a list inside, or is not whole")
    if "..." in bare:
        raise DataError(f"{shorten(text)} is cut short (...); write whole vectors")
    words = [_plain(word) for word in _words(bare, text)]
    try:
        return np.array(words, np.float64)
    except ValueError as error:
        raise DataError(f"{shorten(text)} is not a list of numbers ({str(error).rpartition(': ')[2]})") from error


def _words(bare: str, text: str) -> list[str]:
    for mark in ";|":
        if mark in bare:
            words = bare.removesuffix(mark).split(mark)
            return [word.replace(",", ".") if _COMMA.fullmatch(word.strip()) else word for word in words]
    if "," not in bare:
        return bare.split()
    words = bare.removesuffix(",").split(",")
    if any(len(word.split()) > 1 for word in words):
        raise DataError(f"{shorten(text)} separates numbers both by commas and by blanks; use one of them")
    return words


def _plain(word: str) -> str:
    word = word.strip()
    return "nan" if word.lower() in _MISSING else word
