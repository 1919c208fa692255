"""Media files of every kind that people have, whole and broken, through the image and audio kinds."""

from __future__ import annotations

import io
import struct
import sys
import threading
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrecs.errors import DataError, TriptychError
from tfrecs.features import feature_for
from tfrecs.kinds.base import Feature
from tfrecs.media.resample import resample
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


# Pictures


def photo(width: int, height: int) -> Image.Image:
    """Smooth shapes and fine grain, in colour."""
    grid = np.linspace(0, 1, width)[None, :], np.linspace(0, 1, height)[:, None]
    waves = [np.sin(7 * grid[0] * (k + 1) + 5 * grid[1]) + np.cos(9 * grid[1] * (3 - k)) for k in range(3)]
    grain = np.random.default_rng(3).normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(127 + 55 * np.stack(waves, axis=-1) + grain, 0, 255).astype(np.uint8))


def saved(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def half_transparent(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


READ_BY_BOTH: dict[str, Callable[[Path], Path]] = {
    "large jpeg": lambda to: saved(photo(1000, 700), to / "a.jpg", quality=92),
    "small jpeg": lambda to: saved(photo(50, 70), to / "a.jpg", quality=92),
    "progressive jpeg": lambda to: saved(photo(300, 200), to / "a.jpg", progressive=True),
    "grey jpeg": lambda to: saved(photo(300, 200).convert("L"), to / "a.jpg"),
    "cmyk jpeg": lambda to: saved(photo(300, 200).convert("CMYK"), to / "a.jpg", quality=92),
    "png": lambda to: saved(photo(301, 203), to / "a.png"),
    "png named jpg": lambda to: saved(photo(301, 203), to / "a.jpg", format="PNG"),
    "rgba png": lambda to: saved(half_transparent(photo(300, 200)), to / "a.png"),
    "grey and alpha png": lambda to: saved(half_transparent(photo(300, 200)).convert("LA"), to / "a.png"),
    "palette png": lambda to: saved(photo(300, 200).quantize(64), to / "a.png"),
    "16-bit png": lambda to: saved(
        Image.fromarray(np.asarray(photo(300, 200).convert("L")).astype(np.uint16) * 257), to / "a.png"
    ),
    "gif": lambda to: saved(photo(300, 200).quantize(64), to / "a.gif"),
    "animated gif": lambda to: saved(
        photo(300, 200).quantize(64), to / "a.gif", save_all=True, append_images=[Image.new("P", (300, 200))]
    ),
    "bmp": lambda to: saved(photo(300, 200), to / "a.bmp"),
}


@pytest.mark.parametrize("name", READ_BY_BOTH)
def test_a_file_and_its_bytes_sent_raw_give_nearly_the_same_pixels(name: str, tmp_path: Path) -> None:
    feature = image_feature(64)
    path = READ_BY_BOTH[name](tmp_path)
    one, other = stored(feature, path), sent(feature, path)
    assert one.shape == other.shape == (64, 64, 3)
    assert one.std() > 20
    assert np.abs(one - other).mean() < 3  # Of 255; what JPEG at quality 90 takes away from this grain.


def test_the_resize_alone_is_the_same_filter_on_both_ways(tmp_path: Path) -> None:
    path = saved(photo(500, 400), tmp_path / "a.png")
    resized = np.asarray(photo(500, 400).resize((32, 32), Image.Resampling.BILINEAR)).astype(float)
    difference = np.abs(resized - sent(image_feature(32), path))
    assert difference.max() <= 2
    assert difference.mean() < 0.5


def test_a_large_jpeg_decoded_at_a_fraction_looks_like_the_same_picture_as_png(tmp_path: Path) -> None:
    jpeg = saved(photo(1600, 1200), tmp_path / "a.jpg", quality=98, subsampling=0)
    png = saved(Image.open(jpeg).copy(), tmp_path / "a.png")
    feature = image_feature(64)
    assert np.abs(stored(feature, jpeg) - stored(feature, png)).mean() < 2


def test_webp_is_read_from_files(tmp_path: Path) -> None:
    picture = photo(300, 200)
    webp = saved(picture, tmp_path / "a.webp", lossless=True)
    feature = image_feature(64)
    np.testing.assert_array_equal(stored(feature, webp), stored(feature, saved(picture, tmp_path / "a.png")))


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste("black", (0, 0, 64, 32))  # The upper half is black; turned by 90 degrees clockwise, the right one.
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(picture, tmp_path / "a.jpg", exif=exif)
    pixels = stored(image_feature(16), path)
    assert pixels[:, :7].mean() > 250
    assert pixels[:, 9:].mean() < 5


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (20, 20), (255, 0, 0, 0)), tmp_path / "a.png")
    assert (stored(image_feature(8), path) >= 254).all()
    assert (sent(image_feature(8), path) == 255).all()
    path = saved(Image.new("RGBA", (20, 20), (0, 0, 0, 51)), tmp_path / "b.png")  # 255 * (1 - 0.2) = 204.
    np.testing.assert_allclose(stored(image_feature(8), path), 204, atol=2)
    np.testing.assert_allclose(sent(image_feature(8), path), 204, atol=1)


def broken_pictures(folder: Path) -> dict[str, str]:
    """File name -> what its refusal says."""
    whole = saved(photo(200, 200), folder / "whole.jpg").read_bytes()
    png = saved(photo(200, 200), folder / "whole.png").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cut.png").write_bytes(png[: len(png) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<html>404 not found</html>")
    (folder / "head.png").write_bytes(png[:20])
    (folder / "bits.png").write_bytes(png[:600] + bytes(500) + png[1100:])
    saved(photo(20, 20), folder / "picture.tiff")
    (folder / "folder.png").mkdir()
    return {
        "cut.jpg": "truncated", "cut.png": "truncated", "empty.jpg": "not a picture in JPEG", "bits.png": "",
        "page.jpg": "not a picture in JPEG", "head.png": "", "picture.tiff": "not a picture in JPEG",
        "folder.png": "Is a directory", "absent.png": "No such file",
    }  # fmt: skip


def test_broken_pictures_are_refused_by_name_and_reason(tmp_path: Path) -> None:
    feature = image_feature(16)
    for name, reason in broken_pictures(tmp_path).items():
        with pytest.raises(DataError, match=rf"^{name}: .*{reason}") as caught:
            feature.encode(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_picture_that_would_unfold_to_too_many_pixels_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Image.new("RGB", (120, 100)), tmp_path / "bomb.png")
    for limit in (11_999, 8_000, 5_000):  # Pillow itself says nothing, warns, and raises.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"^bomb\.png: .*(120 x 100|12000) pixels"):
            image_feature(16).encode(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12_000)
    assert payload(image_feature(16), path)


def test_pictures_encode_to_the_same_bytes_on_several_threads(tmp_path: Path) -> None:
    paths = [saved(photo(60 + k, 80), tmp_path / f"{k}.jpg") for k in range(12)]
    feature = image_feature(32)
    serial = [payload(feature, path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda path: payload(feature, path), paths)) == serial
    for jpeg in serial:
        assert Image.open(io.BytesIO(jpeg)).size == (32, 32)
    assert len(set(serial)) == 12


def test_a_raw_picture_that_is_none_fails_the_request_by_saying_so() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown image file format"):
        tf.function(image_feature(16).decode_raw)(tf.constant([b"", b"not a picture"]))


# Sounds


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


@pytest.mark.parametrize("name", CODINGS)
def test_every_coding_of_wav_gives_the_same_sine(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sine.wav"
    path.write_bytes(CODINGS[name])
    np.testing.assert_allclose(stored(audio_feature(0.5), path), SINE, atol=0.008 if name == "8 bits" else 1e-4)


def test_floats_beyond_full_scale_are_clipped_and_not_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    path.write_bytes(wav_bytes(np.tile([2.0, -2.0], 4000).astype("<f4").tobytes(), codec=3, bits=32))
    np.testing.assert_array_equal(stored(audio_feature(0.5), path), np.tile([32767 / 32768, -1.0], 4000))


def test_the_middle_of_a_long_clip_is_taken_on_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "three.wav"
    path.write_bytes(wav_bytes(np.repeat([1000, 2000, 3000], 16000).astype("<i2").tobytes()))
    for clip in (stored(audio_feature(1.0), path), sent(audio_feature(1.0), path)):
        np.testing.assert_array_equal(clip, np.full(16000, 2000 / 32768))


def test_a_short_clip_is_followed_by_silence_on_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    path.write_bytes(wav_bytes((tone(44100, 0.25) * 32767).astype("<i2").tobytes(), rate=44100))
    for clip in (stored(audio_feature(1.0), path), sent(audio_feature(1.0), path)):
        assert np.abs(clip[:4000]).max() > 0.4
        assert (clip[4000:] == 0).all()


@pytest.mark.parametrize("source", [8000, 11025, 22050, 44100, 44101, 48000, 192000])
def test_resampling_keeps_a_tone_and_removes_what_the_new_rate_cannot_hold(source: int) -> None:
    def resampled(hertz: float) -> np.ndarray:
        clip, length = resample(tf.constant(tone(source, 1.0, hertz), tf.float32), tf.constant(source), 16000, 1.0)
        assert int(length) == 16000
        return clip.numpy()

    inside = slice(800, -800)  # 50 ms from the edges, where the tone begins and ends abruptly.
    for hertz in (100.0, 1234.5, 0.45 * min(source, 16000)):
        np.testing.assert_allclose(resampled(hertz)[inside], tone(16000, 1.0, hertz)[inside], atol=1e-4)
    for hertz in (8100.0, 0.45 * source):
        if 8000 < hertz < source / 2:
            assert np.abs(resampled(hertz)[inside]).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_a_sound_file_and_its_bytes_sent_raw_give_the_same_samples(rate: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(rate).normal(0, 4000, (3 * rate + 17, 2)).astype("<i2")
    path = tmp_path / "noise.wav"
    path.write_bytes(wav_bytes(noise.tobytes(), channels=2, rate=rate))
    feature = audio_feature(1.5)
    one, other = stored(feature, path), sent(feature, path)
    assert one.std() > 0.05
    np.testing.assert_allclose(one, other, atol=2 / 32768)


def test_raw_clips_of_different_rates_and_lengths_go_in_one_batch(tmp_path: Path) -> None:
    feature = audio_feature(0.5)
    slow = wav_bytes((tone(8000, 0.4) * 32767).astype("<i2").tobytes(), rate=8000)
    too_short = wav_bytes(PCM16[:200])
    batch = tf.constant([CODINGS["16 bits"], b"", slow, too_short])
    clips, presence = tf.function(feature.decode_raw, input_signature=[feature.raw_spec])(batch)
    assert presence.numpy().tolist() == [True, False, True, False]
    np.testing.assert_allclose(clips[0], SINE, atol=1e-4)
    np.testing.assert_allclose(clips[2][800:5600], SINE[800:5600], atol=1e-3)
    assert (clips[2][6400:].numpy() == 0).all()
    assert (clips[1].numpy() == 0).all()


@pytest.mark.parametrize(
    "raw", [b"garbage", CODINGS["24 bits"], wav_bytes(PCM16, rate=0), wav_bytes(PCM16, rate=2**31 - 1)]
)
def test_a_raw_clip_that_cannot_be_used_fails_the_request_and_nothing_else(raw: bytes) -> None:
    function = tf.function(audio_feature(0.5).decode_raw)
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(tf.constant([raw]))
    assert function(tf.constant([CODINGS["16 bits"]]))[1].numpy().tolist() == [True]


BROKEN_WAVS = {
    "empty": (b"", "the file is empty"),
    "garbage": (b"no sound in here " * 9, "not a readable MP3, FLAC, Ogg Vorbis or WAV file"),
    "binary": (b"RIFF" + b"\xff" * 200, "not a readable"),
    "header": (wav_bytes(PCM16)[:44], "holds 0.000 s of sound where its header says 0.500 s"),
    "no data": (wav_bytes(PCM16)[:36], "without a data chunk"),
    "silent": (wav_bytes(b""), "holds 0.000 s of sound, too little"),
    "click": (wav_bytes(PCM16[:600]), "holds 0.019 s of sound, too little"),
    "no channels": (wav_bytes(PCM16, channels=0), "0 channels"),
    "no rate": (wav_bytes(PCM16, rate=0), "0 samples a second"),
    "fast": (wav_bytes(PCM16, rate=2**31 - 1), "2147483647 samples a second"),
    "mu-law": (wav_bytes(PCM16, codec=7, bits=8), "mu-law, 8 bits, cannot be read; convert it to 16-bit PCM"),
    "12 bits": (wav_bytes(PCM16, bits=40), "PCM, 40 bits"),
    "not a number": (wav_bytes(np.full(16000, np.nan, "<f4").tobytes(), codec=3, bits=32), "NaN"),
    "big-endian": (b"RIFX" + wav_bytes(PCM16)[4:], "big-endian"),
    "no length": (wav_bytes(PCM16, before=b"LIST" + b"\xf0\xff\xff\xff"), "without a data chunk"),
    "data first": (b"RIFF\x64\0\0\0WAVEdata\x08\0\0\0" + bytes(40), "data before its format"),
    "zeros": (b"RIFF\x64\0\0\0WAVE" + bytes(10**6), "without a data chunk"),
    "short format": (b"RIFF\x64\0\0\0WAVEfmt \x04\0\0\0" + bytes(40), "broken format chunk"),
}


@pytest.mark.parametrize("name", BROKEN_WAVS)
def test_a_broken_sound_file_is_refused_by_name_and_reason(name: str, tmp_path: Path) -> None:
    data, reason = BROKEN_WAVS[name]
    (tmp_path / "bad.wav").write_bytes(data)
    with pytest.raises(DataError, match=rf"^bad\.wav: .*{reason}") as caught:
        audio_feature(0.5).encode(tmp_path / "bad.wav")
    assert "\n" not in str(caught.value)


def test_a_wav_that_is_cut_short_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "cut.wav").write_bytes(wav_bytes(PCM16)[: 44 + 6400])
    notes: list[str] = []
    clip = audio_feature(0.5).encode(tmp_path / "cut.wav", notes.append).bytes_list.value[0]
    assert len(clip) == 6400
    assert notes == ["cut.wav: cut short (0.200 s of 0.500 s); the part that is there is used"]


def encoded(form: str, samples: np.ndarray, rate: int) -> bytes:
    """FLAC or Ogg Vorbis of one channel."""
    audio = pytest.importorskip("tensorflow_io").audio
    if form == "ogg":
        return audio.encode_vorbis(samples[:, None].astype(np.float32), rate).numpy()
    whole = {"flac": (samples * 32767).astype(np.int16), "flac24": (samples * (2**31 - 1)).astype(np.int32)}[form]
    return audio.encode_flac(whole[:, None], rate).numpy()


@pytest.mark.parametrize(("form", "tolerance"), [("flac", 1e-4), ("flac24", 1e-4), ("ogg", 0.05)])
def test_compressed_sound_is_the_same_sine_at_the_rate_of_its_header(
    form: str, tolerance: float, tmp_path: Path
) -> None:
    path = tmp_path / "sine.sound"
    path.write_bytes(encoded(form, tone(44100, 3.0), 44100))
    whole = stored(audio_feature(3.0), path)
    np.testing.assert_allclose(whole[800:-800], tone(16000, 3.0)[800:-800], atol=tolerance)
    np.testing.assert_allclose(stored(audio_feature(1.0), path)[800:-800], whole[16800:31200], atol=tolerance)


def test_a_flac_that_is_cut_short_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    whole = encoded("flac", np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
    feature = audio_feature(1.0)
    cuts = [*range(len(whole) // 2, len(whole), len(whole) // 40), len(whole) - 1]
    messages: list[str] = []

    def attempt() -> None:
        for at in cuts:
            (tmp_path / "cut.flac").write_bytes(whole[:at])
            try:
                feature.encode(tmp_path / "cut.flac")
            except DataError as error:
                messages.append(str(error))

    thread = threading.Thread(target=attempt, daemon=True)  # The decoder alone would never come back.
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len(messages) == len(cuts)
    assert all(message.startswith("cut.flac: not a readable MP3, FLAC") for message in messages)


def test_an_ogg_without_its_last_page_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = encoded("ogg", np.random.default_rng(0).normal(0, 0.2, 44100 * 4), 44100)
    last = whole.rfind(b"OggS")
    (tmp_path / "cut.ogg").write_bytes(whole[:last])
    (tmp_path / "whole.ogg").write_bytes(whole)
    notes: list[str] = []
    feature = audio_feature(4.0)
    part = feature.encode(tmp_path / "cut.ogg", notes.append).bytes_list.value[0]
    assert notes == ["cut.ogg: cut short (its last page is missing); the part that is there is used"]
    everything = feature.encode(tmp_path / "whole.ogg", notes.append).bytes_list.value[0]
    assert len(notes) == 1
    assert 0 < len(part) < len(everything) == 2 * 64000


def test_without_tensorflow_io_wav_is_read_and_the_rest_says_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ogg").write_bytes(encoded("ogg", tone(44100, 1.0), 44100))
    (tmp_path / "a.wav").write_bytes(CODINGS["16 bits"])
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    assert payload(audio_feature(0.5), tmp_path / "a.wav")
    with pytest.raises(TriptychError, match=r"^a\.ogg: only WAV can be read here.*; install tensorflow 2") as caught:
        audio_feature(0.5).encode(tmp_path / "a.ogg")
    assert not isinstance(
        caught.value, DataError
    )  # Not this file's fault: the build must stop, not reject file by file.


def test_sounds_encode_to_the_same_bytes_on_several_threads(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        noise = np.random.default_rng(number).normal(0, 4000, 30000).astype("<i2")
        paths.append(tmp_path / f"{number}.wav")
        paths[-1].write_bytes(wav_bytes(noise.tobytes(), rate=22050))
    feature = audio_feature(1.0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda path: payload(feature, path), paths)) == [payload(feature, path) for path in paths]


# From the files' own headers, read with other tools: frames of 1,152 samples (MP3), or what the header announces.
MP3_SECONDS = {"test1.mp3": 279 * 1152 / 32000, "party.mp3": 252 * 1152 / 44100}


def seconds_of(path: Path) -> float:
    """The length of a sound file by its header alone."""
    data = path.read_bytes()
    if path.suffix == ".wav":
        with wave.open(str(path)) as file:
            return file.getnframes() / file.getframerate()
    if path.suffix == ".flac":  # STREAMINFO: 20 bits of rate, 3 + 5 bits, 36 bits of total samples.
        fields = int.from_bytes(data[18:26], "big")
        return (fields & (1 << 36) - 1) / (fields >> 44)
    if path.suffix == ".ogg":  # The position at the end of the last page, over the rate in the identification header.
        page = data.rfind(b"OggS")
        return struct.unpack("<q", data[page + 6 : page + 14])[0] / struct.unpack("<I", data[40:44])[0]
    if path.name in MP3_SECONDS:
        return MP3_SECONDS[path.name]
    at = data.find(b"Info") if b"Info" in data else data.find(b"Xing")
    rate = {0: 44100, 1: 48000, 2: 32000}[data[at - 36 + 2] >> 2 & 3]
    return int.from_bytes(data[at + 8 : at + 12], "big") * 1152 / rate


def test_good_files_decode_to_the_length_that_their_headers_say(shared_data: Path) -> None:
    feature = audio_feature(60.0)
    paths = sorted((shared_data / "audio" / "good").iterdir())
    assert {path.suffix for path in paths} == {".wav", ".mp3", ".flac", ".ogg"}
    notes: list[str] = []
    for path in paths:
        clip = feature.encode(path, notes.append).bytes_list.value[0]
        assert len(clip) / 2 / 16000 == pytest.approx(seconds_of(path), rel=0.01), path.name
        assert np.abs(np.frombuffer(clip, "<i2")).max() > 300, path.name
    assert notes == []


BAD = {
    "bach.ogg": "Ogg with FLAC in it, not Vorbis; convert it",
    "empty.wav": "the file is empty",
    "format_test.m4a": r"MP4 \(AAC\) cannot be read; convert it",
    "header-only.wav": "holds 0.001 s of sound where its header says 0.393 s",
}


def test_bad_files_are_refused_by_name_and_reason_and_the_truncated_one_gives_its_part(shared_data: Path) -> None:
    feature = audio_feature(60.0)
    folder = shared_data / "audio" / "bad"
    assert {path.name for path in folder.iterdir()} == {*BAD, "truncated.mp3"}
    for name, reason in BAD.items():
        with pytest.raises(DataError, match=f"^{name}: {reason}"):
            feature.encode(folder / name)
    notes: list[str] = []
    clip = feature.encode(folder / "truncated.mp3", notes.append).bytes_list.value[0]
    assert len(clip) / 2 / 16000 == pytest.approx(12 * 1152 / 32000)
    assert notes == ["truncated.mp3: cut short (5000 of 120753 bytes); the part that is there is used"]


def test_posters_agree_on_both_ways(shared_data: Path) -> None:
    feature = image_feature(64)
    paths = sorted((shared_data / "ml100k" / "images").iterdir())[:20]
    differences = [np.abs(stored(feature, path) - sent(feature, path)).mean() for path in paths]
    assert len(differences) == 20
    assert np.mean(differences) < 5
