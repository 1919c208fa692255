"""The generated catalogue is the same to the last byte whatever computes it: processor, kernels, numpy, Python."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import demo_hashes
import numpy as np
import pytest
from PIL import features

from tfrecs.demo import exact
from tfrecs.demo.image import draw_poster

HASHES = {
    "items.jsonl": "ec06a66698bf43949ace80255687160aadaf4e7437d79ec5edb799dff36e7094",
    "interactions.csv": "e28c4541abbfa24d98d42aeee6a8e7fa8688032c8f8de2e5f1a9e8a3fc9d3b68",
    "truth.npz": "1468a6fe7214871e69368ce410ed7fc090482176fcca80f2104482a3d36f47fc",
    "dataset.yaml": "10a50c74d7c5cffb73d28efc06278c6586a86e71b9b54cd272ca02fdf751c104",
    "audio/*": "810cfa736b1ccdaee83e97a09f469e31ec91a795998e1a0d9588800d8959d2d7",
}
# libjpeg-turbo (3.1 and 3.2 tried, with and without SIMD) gives these bytes; another JPEG library may not.
JPEG_HASH = "cd4a1e4ca7718051e526fbf019799d7a9482c5f4fd86a94e0598ce6ec520e198"
POSTERS_HASH = "9db04f7a79f727965911e3acf63edc80a34172466d104f408ea0fe2e4c37fbf0"


def expected() -> dict[str, str]:
    return {**HASHES, **({"images/*": JPEG_HASH} if features.check("libjpeg_turbo") else {})}


def checked(hashes: dict[str, str]) -> dict[str, str]:
    """Without the pictures' bytes where the JPEG library is another one."""
    return {part: value for part, value in hashes.items() if part in expected()}


def test_a_seed_gives_these_bytes(tmp_path: Path) -> None:
    assert checked(demo_hashes.part_hashes(demo_hashes.small(tmp_path / "demo"))) == expected()


def simd_extensions() -> str:
    """What numpy chose for this processor beyond the least that it was built for."""
    return " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))


@pytest.mark.parametrize(
    "variables",
    [
        {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": simd_extensions(), "JSIMD_FORCENONE": "1"},
        {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"},
    ],
    ids=["a BLAS kernel of 2004", "no SIMD extensions", "a libm without FMA"],
)
def test_other_kernels_give_the_same_bytes(variables: dict[str, str]) -> None:
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, root / "tests" / "helpers" / "demo_hashes.py"],
        env={**os.environ, "PYTHONPATH": str(root), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert checked(json.loads(run.stdout)) == expected()


def test_posters_are_these_pixels_before_they_are_encoded() -> None:
    digest = hashlib.sha256()
    for palette in range(6):  # every shape, texture and layout with it
        factors = (palette + np.array([0.0, 0.2, 1.4, 2.6])) % 5.5
        digest.update(draw_poster(np.minimum(factors, 5.0), np.random.default_rng(palette)).tobytes())
    assert digest.hexdigest() == POSTERS_HASH


def test_the_elementary_functions_are_right() -> None:
    x = np.linspace(-30.0, 30.0, 10_001)
    np.testing.assert_allclose(exact.exp(x), np.exp(x), rtol=1e-12)
    np.testing.assert_allclose(exact.sin(x), np.sin(x), atol=1e-12)
    np.testing.assert_allclose(exact.cos(x), np.cos(x), atol=1e-12)
    positive = np.exp(x)
    np.testing.assert_allclose(exact.log(positive), x, rtol=1e-12, atol=1e-12)
    assert float(exact.power(2.0, 7 / 12)) == pytest.approx(2 ** (7 / 12), rel=1e-12)
    assert float(exact.length(3.0, -4.0)) == 5.0


def test_the_draws_have_their_distributions() -> None:
    rng = np.random.default_rng(0)
    normal, gumbel = exact.normal(rng, 100_000), exact.gumbel(rng, 100_000)
    assert (normal.mean(), normal.std()) == pytest.approx((0.0, 1.0), abs=0.01)
    assert (gumbel.mean(), gumbel.std()) == pytest.approx((0.5772, math.pi / math.sqrt(6)), abs=0.015)
    uniform = exact.uniform(rng, 2.0, 5.0, 1000)
    assert 2.0 <= uniform.min() < 2.01 < 4.99 < uniform.max() < 5.0


# What is free to differ by a last bit between processors, or between versions of numpy.
FORBIDDEN = re.compile(
    r" @ |np\.(exp|log|sin|cos|tan|hypot|power|dot|matmul|einsum|linalg|fft|interp|quantile|linspace|savez)\b"
    r"|rng\.(normal|uniform|gumbel|lognormal|exponential|choice)\(|\.(mean|std|var)\("
)


def test_the_generator_uses_no_function_that_differs_by_machine() -> None:
    folder = Path(exact.__file__).parent
    code = {
        path.name: re.sub(r'"""(?s:.*?)"""|#.*', "", path.read_text(encoding="utf-8")) for path in folder.glob("*.py")
    }
    assert {name: FORBIDDEN.findall(text) for name, text in code.items() if FORBIDDEN.search(text)} == {}
