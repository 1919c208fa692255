"""Sound files made by the tests, and the two ways in for any media file: `encode` of it, and its bytes sent raw."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tensorflow as tf

from tfrecs.kinds.base import Feature
from tfrecs.reading.features import feature_for
from tfrecs.schema import FeatureSchema


def image_feature(size: int) -> Feature:
    return feature_for(FeatureSchema(name="image", kind="image", params={"size": size}))


def audio_feature(seconds: float, rate: int = 16000) -> Feature:
    return feature_for(FeatureSchema(name="audio", kind="audio", params={"seconds": seconds, "rate": rate}))


def payload(feature: Feature, path: Path) -> bytes:
    return feature.encode(path).bytes_list.value[0]


def stored(feature: Feature, path: Path) -> np.ndarray:
    values, presence = feature.decode(tf.constant([payload(feature, path)]))
    assert presence.numpy().tolist() == [True]
    return values[0].numpy().astype(float)


def sent(feature: Feature, path: Path) -> np.ndarray:
    values, presence = feature.decode_raw(tf.constant([path.read_bytes()]))
    assert presence.numpy().tolist() == [True]
    return values[0].numpy().astype(float)


def ops_of(feature: Feature) -> set[str]:
    """The ops of the graph that decodes raw files."""
    graph = tf.function(feature.decode_raw).get_concrete_function(feature.raw_spec).graph.as_graph_def()
    ops = {node.op for node in graph.node} | {node.op for part in graph.library.function for node in part.node_def}
    return ops - {part.signature.name for part in graph.library.function}


def tone(rate: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def wav_bytes(
    data: bytes, *, codec: int = 1, bits: int = 16, channels: int = 1, rate: int = 16000,
    extensible: bool = False, before: bytes = b"", length: int | None = None,
) -> bytes:  # fmt: skip
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", 0xFFFE if extensible else codec, channels, rate, rate * align, align, bits)
    if extensible:
        guid = struct.pack("<H", codec) + bytes.fromhex("000000001000800000aa00389b71")
        layout += struct.pack("<HHI", 22, bits, 4) + guid
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm24(samples: np.ndarray) -> bytes:
    return b"".join(int(sample).to_bytes(3, "little", signed=True) for sample in samples)


SINE = tone(16000, 0.5)
PCM16 = (SINE * 32767).astype("<i2").tobytes()
CODINGS = {
    "8 bits": wav_bytes((SINE * 127 + 128).round().astype("u1").tobytes(), bits=8),
    "16 bits": wav_bytes(PCM16),
    "24 bits": wav_bytes(pcm24(SINE * (2**23 - 1)), bits=24),
    "32 bits": wav_bytes((SINE * (2**31 - 1)).astype("<i4").tobytes(), bits=32),
    "float": wav_bytes(SINE.astype("<f4").tobytes(), codec=3, bits=32),
    "double": wav_bytes(SINE.astype("<f8").tobytes(), codec=3, bits=64),
    "16 bits, extensible": wav_bytes(PCM16, extensible=True),
    "24 bits, extensible": wav_bytes(pcm24(SINE * (2**23 - 1)), bits=24, extensible=True),
    "two channels": wav_bytes(np.repeat(np.frombuffer(PCM16, "<i2"), 2).tobytes(), channels=2),
    "a chunk of odd length before": wav_bytes(PCM16, before=b"LIST" + struct.pack("<I", 3) + b"abc\0"),
    "a chunk behind": wav_bytes(PCM16) + b"id3 " + struct.pack("<I", 4) + b"abcd",
    "written to a pipe": wav_bytes(PCM16, length=0xFFFFFFFF),
    "never finished": wav_bytes(PCM16, length=0),
    "half a frame at the end": wav_bytes(PCM16 + b"\1"),
}


SUBTYPES = {
    "flac": "PCM_16",
    "flac24": "PCM_24",
    "ogg": "VORBIS",
    "opus": "OPUS",
    "mp3": "MPEG_LAYER_III",
    "aiff": "PCM_24",
}


def encoded(form: str, samples: np.ndarray, rate: int, **options: Any) -> bytes:
    """A file of `samples` [n] or [n, channels], as libsndfile writes it."""
    buffer = io.BytesIO()
    container = {"flac24": "FLAC", "opus": "OGG"}.get(form, form.upper())
    soundfile.write(buffer, samples, rate, format=container, subtype=SUBTYPES[form], **options)
    return buffer.getvalue()
