"""One case for each feature kind: raw values, what they decode to, the raw form of the same, and values to refuse."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecs.kinds.base import Feature
from tfrecs.modalities import resolve, row
from tfrecs.reading.features import feature_for
from tfrecs.schema import FeatureSchema


@dataclass(frozen=True)
class Case:
    """`values` (made in a folder) decode to `decoded` within `tolerance`, the last being missing; so does `raw`.

    The two ways in differ from one another by no more than `agreement`.
    """

    kind: str
    values: Callable[[Path], list[Any]]
    decoded: np.ndarray
    presence: list[bool]
    raw: Callable[[Path], np.ndarray]
    bad: list[Any]
    options: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    tolerance: float = 0.0
    agreement: float = 0.0


def half_red(folder: Path) -> Path:
    """16 x 4: the left half red, the right half blue; the halves are blocks of the JPEG that it becomes."""
    picture = Image.new("RGB", (16, 4), (250, 10, 20))
    picture.paste((10, 20, 250), (8, 0, 16, 4))
    picture.save(folder / "half.png")
    return folder / "half.png"


def grey(folder: Path) -> Path:
    Image.new("L", (100, 60), 77).save(folder / "grey.jpg")
    return folder / "grey.jpg"


HALF_RED = np.concatenate([np.full([16, 8, 3], (250, 10, 20)), np.full([16, 8, 3], (10, 20, 250))], axis=1)


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """16-bit PCM; `samples` in [-1, 1], [n] or [n, channels]."""
    pcm = np.round(samples * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return path


def hum(rate: int, seconds: float, start: float = 0.0) -> np.ndarray:
    """200 Hz swelling from nothing at 0 s to 0.5 at 1 s, and back at 2 s; seconds `start` to `start` + `seconds`."""
    time = start + np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(np.pi * time / 2) ** 2 * np.sin(2 * np.pi * 200 * time)


def clips(folder: Path) -> list[Path]:
    """The whole swell at 44.1 kHz on two channels that differ, and a tenth of a second at the decoded rate."""
    swell = hum(44100, 2.0)
    return [
        write_wav(folder / "swell.wav", np.stack([1.5 * swell, 0.5 * swell], axis=1), 44100),
        write_wav(folder / "short.wav", hum(8000, 0.1, 0.95), 8000),
    ]


def file_bytes(paths: list[Path]) -> np.ndarray:
    return np.array([*(path.read_bytes() for path in paths), b""], object)


CASES = [
    Case(
        "text",
        lambda _: [
            "  héllo wörld ",
            ["Alien", ["horror", None, "sf"], None, " In space. ", "No one."],
            1984,
            25.0,
            "",
            None,
        ],
        np.array(["héllo wörld", "Alien. horror, sf. In space. No one.", "1984", "25", "", ""]),
        [True, True, True, True, False, False],
        lambda _: np.array(["\u3000héllo wörld\x1f", "Alien. horror, sf. In space. No one.", "1984 ", "25", " \n", ""]),
        bad=[{"a": 1}, b"\xff\xfe", ["a", object()]],
    ),
    Case(
        "number",
        lambda _: [3, " 4.5", np.float64(-1e3), np.int64(0), float("nan"), "", None],
        np.array([3, 4.5, -1000, 0, 0, 0, 0], np.float32),
        [True, True, True, True, False, False, False],
        lambda _: np.array([3, 4.5, -1000, 0, np.nan, np.nan, np.nan], np.float32),
        bad=["many", float("inf"), "-inf", 1e39, 10**400, [1, 2], object()],
    ),
    Case(
        "vector",
        lambda _: [[1, 2, 3], np.array([0, 0, 0], np.float16), (0.5, -1, 1e-3), None],
        np.array([[1, 2, 3], [0, 0, 0], [0.5, -1, 1e-3], [0, 0, 0]], np.float32),
        [True, True, True, False],
        lambda _: np.array([[1, 2, 3], [0, 0, 0], [0.5, -1, 1e-3], [np.nan] * 3], np.float32),
        bad=[
            [1, 2],
            [1, 2, 3, 4],
            [1, np.nan, 2],
            [1, np.inf, 2],
            [1e39, 0, 0],
            [[1, 2, 3]],
            [],
            "abc",
            7,
            ["a", "b", "c"],
        ],
    ),
    Case(
        "categories",
        lambda _: ["drama|film noir, drama,", ["a,b", None, " film noir ", "x"], 25.0, "", [], None],
        np.array([["drama", "film noir"], ["a,b", "film noir"], ["25", ""], ["", ""], ["", ""], ["", ""]]),
        [True, True, True, False, False, False],
        lambda _: np.array(
            [
                ["", "drama", " drama ", "film noir\n"],
                ["a,b", "film noir", "a,b", "x"],
                ["", "", "", "25"],
                ["", " ", "", ""],
                [""] * 4,
                [""] * 4,
            ]
        ),
        bad=[{"a": 1}, [b"\xff"], object()],
        options={"max_values": 2},
    ),
    Case(
        "image",
        lambda folder: [half_red(folder), str(grey(folder)), None],
        np.stack([HALF_RED, np.full([16, 16, 3], 77), np.zeros([16, 16, 3], int)]).astype(np.uint8),
        [True, True, False],
        lambda folder: file_bytes([half_red(folder), grey(folder)]),
        bad=["no/such/file.png"],
        options={"size": 16},
        required=("size",),
        tolerance=4,
        agreement=4,
    ),
    Case(
        "audio",
        lambda folder: [*clips(folder), None],
        np.stack([hum(8000, 1.0, 0.5), np.pad(hum(8000, 0.1, 0.95), (0, 7200)), np.zeros(8000)]).astype(np.float32),
        [True, True, False],
        lambda folder: file_bytes(clips(folder)),
        bad=["no/such/file.wav"],
        options={"seconds": 1.0, "rate": 8000},
        required=("seconds", "rate"),
        # The clip is cut at full loudness, and the abrupt edges ring; the test of the resampler looks at the inside.
        tolerance=0.05,
        agreement=1e-4,
    ),
]


def feature_of(case: Case, folder: Path) -> Feature:
    """As the builder makes it; its schema has been through the manifest's JSON."""
    params = resolve(row(case.kind).feature).params_from(case.options, case.values(folder))
    return feature_for(FeatureSchema(name="it", kind=case.kind, params=json.loads(json.dumps(params))))


def example(payloads: dict[str, tf.train.Feature]) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=payloads)).SerializeToString(deterministic=True)


def examples(feature: Feature, values: list[Any]) -> list[bytes]:
    return [example({f"items/{feature.name}": feature.encode(value)}) for value in values]


def strings(array: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda value: value.decode(), otypes=[object])(array)
