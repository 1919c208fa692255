"""Picture files of every kind that people have, whole and broken, and real media files."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from media_files import audio_feature, image_feature, ops_of, payload, sent, stored
from PIL import Image

from serving.export_check.gate import unknown_ops
from tfrecs.errors import DataError


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


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("endian", ["<", ">"])
def test_exif_orientation_is_honoured_on_both_ways(endian: str, orientation: int, tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 64), (100, 100, 100))
    picture.paste("black", (0, 0, 64, 32))
    picture.paste("white", (0, 0, 32, 16))
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "a maker"  # an entry before it
    exif[0x0112] = orientation
    path = saved(picture, tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    pixels = stored(image_feature(16), path)
    if orientation == 6:  # Turned by 90 degrees clockwise: the black half is the right one, and white above in it.
        assert 95 < pixels[:, :7].mean() < 105
        assert pixels[9:, 9:].mean() < 5
        assert pixels[:7, 13:].mean() > 245
    np.testing.assert_allclose(sent(image_feature(16), path), pixels, atol=12)


def test_exif_that_is_broken_does_not_spoil_the_picture(tmp_path: Path) -> None:
    plain = saved(photo(60, 80), tmp_path / "a.jpg").read_bytes()
    expected = image_feature(16).decode_raw(tf.constant([plain]))[0][0]
    tiffs = [b"", b"II", b"II*\0\x08\0\0\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(30)]
    tiffs += [b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x99\0\0\0", b"Exif"]
    files = []
    for tiff in tiffs:
        segment = b"Exif\0\0" + tiff
        files.append(plain[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:])
    pixels, presence = tf.function(image_feature(16).decode_raw)(tf.constant(files))
    assert presence.numpy().all()
    for row in pixels:
        np.testing.assert_array_equal(row, expected)


def test_a_bmp_with_a_palette_has_its_colours_on_both_ways(tmp_path: Path) -> None:
    for colours in (256, 7):
        picture = photo(64, 64).quantize(colours)
        path = saved(picture, tmp_path / f"{colours}.bmp")
        assert path.read_bytes()[28] == 8  # bits
        np.testing.assert_allclose(
            sent(image_feature(64), path), np.asarray(picture.convert("RGB")).astype(float), atol=0
        )


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (20, 20), (255, 0, 0, 0)), tmp_path / "a.png")
    assert (stored(image_feature(8), path) >= 254).all()
    assert (sent(image_feature(8), path) == 255).all()
    path = saved(Image.new("RGBA", (20, 20), (0, 0, 0, 51)), tmp_path / "b.png")  # 255 * (1 - 0.2) = 204.
    np.testing.assert_allclose(stored(image_feature(8), path), 204, atol=2)
    np.testing.assert_allclose(sent(image_feature(8), path), 204, atol=1)


@pytest.mark.parametrize("count", [0, 1, 16, 19])
def test_a_batch_of_any_size_decodes_to_the_pictures_of_its_payloads_in_order(tmp_path: Path, count: int) -> None:
    feature = image_feature(8)
    shades = [10 * number + 40 for number in range(count)]
    payloads = [payload(feature, saved(Image.new("L", (8, 8), shade), tmp_path / f"{shade}.png")) for shade in shades]
    payloads[2:3] = [b""] * len(payloads[2:3])
    values, presence = tf.function(feature.decode)(tf.constant(payloads, tf.string, [count]))
    expected = np.array([0 if number == 2 else shade for number, shade in enumerate(shades)], np.uint8)
    assert values.shape == (count, 8, 8, 3)
    np.testing.assert_array_equal(values, np.broadcast_to(expected[:, None, None, None], values.shape))
    np.testing.assert_array_equal(presence, expected > 0)


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


def test_a_raw_picture_that_is_none_is_missing_and_spoils_nothing_beside_it(tmp_path: Path) -> None:
    function = tf.function(image_feature(16).decode_raw)
    good = saved(photo(60, 80), tmp_path / "good.jpg").read_bytes()
    png = saved(photo(60, 80), tmp_path / "good.png").read_bytes()
    batch = [b"not a picture", good, b"", good[: len(good) // 2], png[:200], png, good[:3]]
    pixels, presence = function(tf.constant(batch))
    assert presence.numpy().tolist() == [False, True, False, False, False, True, False]
    for row in (1, 5):
        np.testing.assert_array_equal(pixels[row], function(tf.constant([batch[row]]))[0][0])
    assert not pixels.numpy()[[0, 2, 3, 4, 6]].any()


def test_posters_agree_on_both_ways(shared_data: Path) -> None:
    feature = image_feature(64)
    paths = sorted((shared_data / "ml100k" / "images").iterdir())[:20]
    built, _ = feature.decode(tf.constant([payload(feature, path) for path in paths]))
    raw, presence = tf.function(feature.decode_raw)(tf.constant([path.read_bytes() for path in paths]))
    assert presence.numpy().tolist() == [True] * 20
    assert np.abs(built.numpy().astype(float) - raw.numpy().astype(float)).mean() < 5


# Has no Info frame: 52,662 bytes behind the ID3 tag, at the 64 kbit/s that every frame's header says.
SECONDS_OF_CONSTANT_RATE = {"party.mp3": 52_662 * 8 / 64_000}


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
    if path.name in SECONDS_OF_CONSTANT_RATE:
        return SECONDS_OF_CONSTANT_RATE[path.name]
    at = data.find(b"Info")  # Its frame is of stereo MPEG 1: the tag is 36 bytes behind the frame's header.
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
    "bach.ogg": "Ogg with FLAC in it, not Vorbis or Opus; convert it",
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
    # 12 frames, without that of the tag and without the delay of LAME (576 samples) and of every decoder (529).
    assert len(clip) // 2 == round((11 * 1152 - 576 - 529) / 2)  # 32 kHz -> 16 kHz, 2 bytes a sample
    assert notes == ["truncated.mp3: cut short (5000 of 120753 bytes); the part that is there is used"]


def test_reading_pictures_in_a_graph_uses_ops_of_a_stock_server_only() -> None:
    assert unknown_ops(ops_of(image_feature(16))) == []
