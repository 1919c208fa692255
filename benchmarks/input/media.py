"""Images and audio: building and decoding, beside the bare libraries."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks.measurement import Measurement, speedup
from pipelines.config import Config
from tfrecs.build.builder import build
from tfrecs.events.spool import Scratch
from tfrecs.kinds.image import ImageFeature
from tfrecs.reading.features import feature_for
from tfrecs.reading.reader import load_catalogue
from tfrecs.schema import FeatureSchema, Manifest
from tfrecs.spec.dataset_yaml import load_spec
from towers.encoders.audio import AudioEncoder

NUM_WORKERS = 2
IMAGE_SIZE = int(Config().build.kinds["image"]["size"])
POSTER_SIZE = 184  # the multiple of 8 nearest to the width of the posters
_SPEC = """
name: pictures
items: {file: items.csv, id: id, features: {image: {kind: image, column: image}}}
interactions: {file: events.csv, user: user, item: item, order: at}
"""


def image_folder(folder: Path, images: Path, names: Sequence[str]) -> Path:
    """Write a data folder with an item per image, linked images, and a few events."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "images"
    if not link.is_symlink():
        os.symlink(images.resolve(), link)
    (folder / "dataset.yaml").write_text(_SPEC, encoding="utf-8")
    rows = "".join(f"{number},images/{name}\n" for number, name in enumerate(names))
    (folder / "items.csv").write_text(f"id,image\n{rows}", encoding="utf-8")
    (folder / "events.csv").write_text("user,item,at\nu,0,1\nu,1,2\nu,2,3\nu,3,4\n", encoding="utf-8")
    return folder


def build_images(folder: Path, out: Path, size: int) -> Manifest:
    """Build records with images of `size` pixels per side."""
    settings = Config().build
    return build(
        load_spec(folder, None),
        folder,
        out,
        seed=0,
        max_bad=settings.max_bad,
        window=settings.window,
        overlap=settings.overlap,
        items_per_shard=settings.items_per_shard,
        examples_per_shard=settings.examples_per_shard,
        kind_options={**settings.kinds, "image": {"size": size}},
        train_vocabulary=None,
        vocabulary_key="",
        vocabulary_file=None,
        workers=NUM_WORKERS,
        processes_from=settings.processes_from,
        scratch=Scratch(out.parent, settings.events_in_memory),
        progress=None,
    )


def _convert_with_pillow(path: Path, size: int) -> bytes:
    """Decode, resize and encode with Pillow in its fastest way."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.draft("RGB", (2 * size, 2 * size))
        small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    small.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def image_build(images: Path, names: Sequence[str], work: Path, rounds: int) -> Measurement:
    """Compare a complete build (tables, checks, records, checksums) with the conversion of the images alone."""
    folder, size = image_folder(work / "pictures", images, names), IMAGE_SIZE

    def convert_all() -> None:
        with ThreadPoolExecutor(NUM_WORKERS) as pool:
            for _ in pool.map(lambda name: _convert_with_pillow(images / name, size), names, chunksize=1):
                pass

    ratio, ours, reference = speedup(lambda: build_images(folder, work / f"pictures-{size}", size), convert_all, rounds)
    facts = f"{len(names) / ours:,.0f} against {len(names) / reference:,.0f} pictures/s"
    return Measurement("image build / decode + resize + encode alone", ratio, 0.8, True, facts)


def jpeg_decode(records: Path, size: int, rounds: int) -> Measurement:
    """Compare `ImageFeature.decode` of slices of the catalogue, as in training, with simplejpeg on two threads.

    Both decode the JPEGs of the records. The smaller the images, the larger the part of an op's fixed cost.
    """
    import simplejpeg

    manifest = Manifest.load(records)
    feature = feature_for(manifest.schema_.items[0])
    assert isinstance(feature, ImageFeature)
    parsed = tf.io.parse_example(
        tf.constant(load_catalogue(records, manifest).records[:]), {"items/image": feature.parse_spec}
    )["items/image"]
    jpegs = [jpeg for jpeg in parsed.numpy().tolist() if jpeg]
    batches = [tf.constant(jpegs[start : start + 256]) for start in range(0, len(jpegs), 256)]
    decode = tf.function(feature.decode, input_signature=[tf.TensorSpec([None], tf.string)])

    def decode_batches() -> None:
        for batch in batches:
            decode(batch)

    def decode_part(part: Sequence[bytes]) -> None:
        for jpeg in part:
            simplejpeg.decode_jpeg(jpeg, "RGB")

    def decode_in_threads() -> None:
        with ThreadPoolExecutor(NUM_WORKERS) as pool:
            list(pool.map(decode_part, [jpegs[worker::NUM_WORKERS] for worker in range(NUM_WORKERS)]))

    ratio, ours, reference = speedup(decode_batches, decode_in_threads, 5 * rounds)
    facts = f"{len(jpegs) / ours:,.0f} against {len(jpegs) / reference:,.0f} JPEGs a second"
    return Measurement(f"JPEG decode / simplejpeg on two threads, {size} x {size}", ratio, 0.8, True, facts)


def _drain(dataset: tf.data.Dataset) -> None:
    for _ in dataset:
        pass


_CLIPS: list[np.ndarray] = []  # loaded once in each worker process


def _load_clips(path: str) -> None:
    _CLIPS.append(np.load(path, mmap_mode="r"))


def _librosa_mel(first: int, stop: int, options: dict[str, Any]) -> np.ndarray:
    import librosa

    mels = [librosa.feature.melspectrogram(y=np.asarray(clip), **options) for clip in _CLIPS[0][first:stop]]
    return np.log(np.stack(mels).transpose(0, 2, 1) + 1e-6)


def log_mel(work: Path, rounds: int) -> Iterator[Measurement]:
    """Compare the batched spectrogram of the audio encoder with librosa in two processes, in speed and values."""
    settings = Config().audio
    clip = Config().build.kinds["audio"]
    encoder = AudioEncoder(FeatureSchema(name="audio", kind="audio", params=clip).model_dump(), **settings.model_dump())
    generator, count = np.random.default_rng(0), 512
    clips = generator.normal(0, 0.1, (count, encoder.samples)).astype(np.float32)
    clips *= np.exp(generator.normal(0, 1, (count, 1))).astype(np.float32)
    np.save(work / "clips.npy", clips)
    # tensorflow-io pads the end to complete the last frame; librosa gets the padded clips.
    nfft = 1 << (settings.window - 1).bit_length()
    padded = np.pad(clips, [(0, 0), (0, (encoder.frames - 1) * settings.hop + settings.window - encoder.samples)])
    np.save(work / "padded.npy", padded)
    options = {
        "sr": encoder.rate, "n_fft": nfft, "win_length": settings.window, "hop_length": settings.hop, "center": False,
        "power": 2.0, "n_mels": settings.mels, "fmin": settings.fmin, "fmax": settings.fmax, "htk": True, "norm": None,
    }  # fmt: skip
    preprocess = tf.function(encoder.preprocess)
    batches = tf.data.Dataset.from_tensor_slices(clips).batch(16).map(preprocess, NUM_WORKERS)
    parts = [(start, start + 64, options) for start in range(0, count, 64)]
    context = get_context("spawn")
    with ProcessPoolExecutor(NUM_WORKERS, context, _load_clips, (str(work / "padded.npy"),)) as pool:
        reference = np.concatenate(list(pool.map(_librosa_mel, *zip(*parts, strict=True))))
        ratio, our_seconds, reference_seconds = speedup(
            lambda: _drain(batches), lambda: list(pool.map(_librosa_mel, *zip(*parts, strict=True))), rounds
        )
    facts = (
        f"{count / our_seconds:,.0f} against {count / reference_seconds:,.0f} clips of {clip['seconds']:g} s a second"
    )
    yield Measurement("log-mel / librosa on two workers", ratio, 2.5, True, facts)
    power, other = (np.exp(values) for values in (np.concatenate(list(batches.as_numpy_iterator())), reference))
    error = float((np.abs(power - other).max(axis=(1, 2)) / other.max(axis=(1, 2))).max())
    facts = "largest difference / largest power of the clip"
    yield Measurement("mel error against librosa", error, 1e-3, False, facts)


def build_memory(work: Path, count: int) -> Measurement:
    """Compare the peak memory of a build of `count` images with that of ten times as many."""
    images = work / "generated"
    images.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (600, 400, 3)).astype(np.uint8)
    for number in range(10 * count):
        path = images / f"{number}.jpg"
        if not path.exists():
            Image.fromarray(np.roll(noise, number, axis=0)).save(path, "JPEG", quality=85)
    peaks = []
    for size in (count, 10 * count):
        folder = image_folder(work / f"memory-{size}", images, [f"{number}.jpg" for number in range(size)])
        command = [sys.executable, "-m", "benchmarks.input.media", str(folder), str(work / f"memory-{size}-records")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
    raw = sum(path.stat().st_size for path in images.iterdir()) / 2**20
    facts = f"{peaks[0]:,.0f} MB for {count:,} pictures, {peaks[1]:,.0f} MB for {10 * count:,} ({raw:,.0f} MB of files)"
    return Measurement("peak memory of a build, 10x / 1x the catalogue", peaks[1] / peaks[0], 1.1, False, facts)


if __name__ == "__main__":
    build_images(Path(sys.argv[1]), Path(sys.argv[2]), IMAGE_SIZE)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
