"""Elementary functions and draws whose bits are the same on every machine.

The demo's choices follow from these numbers, so a last bit that depends on the processor would give another catalogue.
IEEE 754 fixes + - * / and sqrt, and rounding to whole numbers; it leaves open exp, log, sin, cos and powers, for which
numpy and libm choose code by processor, as BLAS does for products. The functions here use the former only, elementwise,
and are accurate to about 1e-12. Whoever adds to `tfrecs.demo`: no `@`, no np.exp, np.sin, np.hypot or `**`, no sum of
floats over an axis (sum integers, or add in a loop), and of a generator only `random`, `integers`, `permutation`.
"""

from __future__ import annotations

import math
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LOG_2 = 0.6931471805599453
_GRID = 2.0**24  # normal deviates are multiples of 1 / _GRID
_EXP_TERMS = tuple(1.0 / math.factorial(n) for n in range(12, -1, -1))
_LOG_TERMS = tuple(1.0 / n for n in range(15, 0, -2))
_SIN_TERMS = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in range(9, -1, -1))


def exp(x: ArrayLike) -> Floats:
    """Return e to the power of each x, elementwise, for |x| up to 700."""
    x = np.asarray(x, np.float64)
    twos = np.rint(x / LOG_2)
    return np.ldexp(_polynomial(_EXP_TERMS, x - twos * LOG_2), twos.astype(np.int32))


def log(x: ArrayLike) -> Floats:
    """Return the natural logarithm of each x > 0, elementwise."""
    share, twos = np.frexp(np.asarray(x, np.float64))
    small = share < math.sqrt(0.5)
    share, twos = np.where(small, 2.0 * share, share), twos - small
    # log((1 + r) / (1 - r)) = 2 (r + r^3 / 3 + ...), |r| < 0.18
    ratio: Floats = (share - 1.0) / (share + 1.0)
    return twos * LOG_2 + 2.0 * ratio * _polynomial(_LOG_TERMS, ratio * ratio)


def power(base: ArrayLike, exponent: ArrayLike) -> Floats:
    """Return base > 0 to the power of exponent, elementwise."""
    return exp(np.asarray(exponent, np.float64) * log(base))


def sin(x: ArrayLike) -> Floats:
    """Return the sine of each x in radians, elementwise, for |x| up to about a million."""
    turns = np.asarray(x, np.float64) / (2 * math.pi)
    turns = turns - np.rint(turns)
    # sin(pi - a) = sin(a): an angle in [-1/4, 1/4] of a turn with the same sine.
    angle = 2 * math.pi * np.copysign(0.25 - np.abs(np.abs(turns) - 0.25), turns)
    return angle * _polynomial(_SIN_TERMS, angle * angle)


def cos(x: ArrayLike) -> Floats:
    """Return the cosine of each x in radians, elementwise."""
    return sin(np.asarray(x, np.float64) + math.pi / 2)


def length(x: ArrayLike, y: ArrayLike) -> Floats:
    """Return the lengths of vectors (x, y), elementwise."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.sqrt(x * x + y * y)


@overload
def uniform(rng: np.random.Generator, low: float, high: float) -> float: ...
@overload
def uniform(rng: np.random.Generator, low: float, high: float, size: int | tuple[int, ...]) -> Floats: ...
def uniform(
    rng: np.random.Generator, low: float, high: float, size: int | tuple[int, ...] | None = None
) -> float | Floats:
    """Draw from [low, high): `Generator.uniform`, whose compiled sum some processors round once instead of twice."""
    return low + (high - low) * rng.random(size)


def normal(rng: np.random.Generator, size: int | tuple[int, ...] = ()) -> Floats:
    """Draw standard normal deviates, rounded: numpy takes the rare ones beyond 3.6 from libm's log1p."""
    return np.rint(np.asarray(rng.standard_normal(size)) * _GRID) / _GRID


def gumbel(rng: np.random.Generator, size: int | tuple[int, ...] = ()) -> Floats:
    """Draw standard Gumbel deviates."""
    return -log(-log(1.0 - np.asarray(rng.random(size))))


def _polynomial(terms: tuple[float, ...], x: Floats) -> Floats:
    """Horner's scheme, the highest power first."""
    value = np.full_like(x, terms[0])
    for term in terms[1:]:
        value *= x
        value += term
    return value
