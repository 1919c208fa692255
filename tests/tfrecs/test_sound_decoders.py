"""libsndfile's decoding beside another decoder's, and on files that are cut, flipped and padded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from media_files import audio_feature, encoded, tone

from tfrecs.errors import DataError
from tfrecs.media.sounds import Sound, read_middle

NOISE = np.random.default_rng(0).normal(0, 0.2, (44100, 2)).clip(-1, 1)


def no_note(line: str) -> None:
    pytest.fail(line)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- beside tensorflow-io -----------------------------------------------------------------------------------------------


def by_tensorflow_io(path: Path) -> Sound:
    """All of a clip as tensorflow-io decodes it, which read compressed sounds before libsndfile did."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        audio = pytest.importorskip("tensorflow_io", reason="tensorflow-io, the reference, is not installed").audio
    try:
        clip = audio.AudioIOTensor(str(path))
    except NotImplementedError:
        pytest.skip("tensorflow-io, the reference, does not load with this TensorFlow")
    samples = clip[0 : int(clip.shape[0])].numpy()
    if samples.dtype.kind == "i":
        samples = (samples / 2.0 ** (8 * samples.dtype.itemsize - 1)).astype(np.float32)
    return Sound(samples, int(clip.rate))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("form", ["flac", "flac24"])
def test_flac_gives_the_samples_of_tensorflow_io_bit_for_bit(form: str, channels: int, tmp_path: Path) -> None:
    path = written(tmp_path / "noise.flac", encoded(form, NOISE[:, :channels], 44100))
    reference, sound = by_tensorflow_io(path), read_middle(path, 9.0, no_note)
    assert sound.rate == reference.rate == 44100
    np.testing.assert_array_equal(sound.samples, reference.samples)


def test_ogg_gives_the_samples_of_tensorflow_io_to_the_last_bits(tmp_path: Path) -> None:
    """Both decode with libvorbis, but their compilers order its sums differently: a hundredth of a 16-bit step."""
    path = written(tmp_path / "noise.ogg", encoded("ogg", NOISE, 44100))
    reference, sound = by_tensorflow_io(path), read_middle(path, 9.0, no_note)
    assert (sound.rate, sound.samples.shape) == (reference.rate, reference.samples.shape)
    np.testing.assert_allclose(sound.samples, reference.samples, atol=0.01 / 32768, rtol=0)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_gives_the_samples_of_tensorflow_io(mode: str, tmp_path: Path) -> None:
    path = written(tmp_path / "noise.mp3", encoded("mp3", NOISE, 44100, bitrate_mode=mode))
    reference, sound = by_tensorflow_io(path), read_middle(path, 9.0, no_note)
    assert sound.samples.shape == reference.samples.shape == (44100, 2)
    np.testing.assert_allclose(sound.samples, reference.samples, atol=1e-5)


def test_real_clips_are_those_of_tensorflow_io(shared_data: Path) -> None:
    paths = [path for path in sorted((shared_data / "audio" / "good").iterdir()) if path.suffix in (".flac", ".ogg")]
    assert len(paths) == 5
    for path in paths:
        np.testing.assert_allclose(
            read_middle(path, 60.0, no_note).samples, by_tensorflow_io(path).samples, atol=0.01 / 32768, rtol=0
        )


def test_real_mp3s_are_those_of_tensorflow_io_without_what_the_encoder_put_before(shared_data: Path) -> None:
    # A frame for the tag, 576 samples of LAME, 529 of every decoder; one file has no tag that says so.
    for name, delay in {"party.mp3": 0, "test1.mp3": 1152 + 576 + 529, "test2.mp3": 1152 + 576 + 529}.items():
        path = shared_data / "audio" / "good" / name
        sound, reference = read_middle(path, 60.0, no_note).samples, by_tensorflow_io(path).samples
        both = len(sound) - 2304
        np.testing.assert_allclose(sound[:both], reference[delay : delay + both], atol=1e-5)


# --- the middle ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["flac", "ogg", "opus", "mp3", "aiff"])
def test_the_middle_is_that_of_the_whole_clip(form: str, tmp_path: Path) -> None:
    path = written(tmp_path / "sound", encoded(form, NOISE, 48000 if form == "opus" else 44100))
    whole, part = read_middle(path, 9.0, no_note), read_middle(path, 0.1, no_note)
    first, count = (44100 - round(0.1 * whole.rate)) // 2, round(0.1 * whole.rate)
    assert whole.samples.shape == (44100, 2)
    np.testing.assert_array_equal(part.samples, whole.samples[first : first + count])


@pytest.mark.parametrize("tag", [0, 100, 200_000])
@pytest.mark.parametrize("padding", [0, 1, 3000])
def test_an_mp3_may_have_a_tag_and_padding_before_its_first_frame(tag: int, padding: int, tmp_path: Path) -> None:
    data = encoded("mp3", NOISE, 44100)
    size = bytes(tag >> shift & 0x7F for shift in (21, 14, 7, 0))
    before = b"ID3\x03\0\0" + size + bytes(tag) if tag else b""
    plain = read_middle(written(tmp_path / "plain.mp3", data), 9.0, no_note)
    padded = read_middle(written(tmp_path / "padded.mp3", before + bytes(padding) + data), 9.0, no_note)
    np.testing.assert_array_equal(padded.samples, plain.samples)


def test_the_length_of_an_mp3_is_counted_where_its_header_does_not_say_it(tmp_path: Path) -> None:
    data = encoded("mp3", tone(44100, 3.0), 44100, bitrate_mode="VARIABLE")
    at = max(data.find(b"Xing"), data.find(b"Info"))
    path = written(tmp_path / "untagged.mp3", data[:at] + b"none" + data[at + 4 :])
    whole, part = (read_middle(path, seconds, no_note).samples for seconds in (9.0, 1.0))
    assert len(whole) == pytest.approx(3 * 44100, abs=4 * 1152)
    first = (len(whole) - 44100) // 2
    np.testing.assert_array_equal(part, whole[first : first + 44100])


def test_a_flac_whose_header_does_not_say_its_length_is_read_whole(tmp_path: Path) -> None:
    data = bytearray(encoded("flac", NOISE, 44100))
    plain = read_middle(written(tmp_path / "plain.flac", data), 9.0, no_note).samples
    data[21] &= 0xF0  # 36 bits of total samples
    data[22:26] = bytes(4)
    np.testing.assert_array_equal(read_middle(written(tmp_path / "piped.flac", data), 9.0, no_note).samples, plain)


def test_names_that_are_no_text_or_have_another_extension_do_not_matter(tmp_path: Path) -> None:
    data = encoded("flac", NOISE, 44100)
    for name in (b"\xff\xfe.flac", b"sound.raw", b"sound [1]*?.mp3"):
        path = written(tmp_path / name.decode("utf-8", "surrogateescape"), data)
        assert len(read_middle(path, 9.0, no_note).samples) == 44100


# --- broken -------------------------------------------------------------------------------------------------------------


def broken(whole: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Files cut anywhere, with flipped bits, with a spoilt header, with a part missing or zeroed."""
    for number in range(count):
        data, at = bytearray(whole), int(rng.integers(len(whole)))
        if number % 5 == 0:
            del data[at:]
        elif number % 5 == 1:
            for place in rng.integers(len(data), size=rng.integers(1, 20)):
                data[place] ^= 1 << rng.integers(8)
        elif number % 5 == 2:
            for place in rng.integers(min(300, len(data)), size=rng.integers(1, 6)):
                data[place] = rng.integers(256)
        else:
            length = int(rng.integers(1, 3000))
            data[at : at + length] = b"" if number % 5 == 3 else bytes(length)
        yield bytes(data)


@pytest.mark.parametrize("form", ["flac", "ogg", "opus", "mp3", "aiff"])
def test_broken_files_give_sound_or_one_line_and_never_end_the_process(form: str, tmp_path: Path) -> None:
    whole = encoded(form, NOISE[:22050], 48000 if form == "opus" else 44100)
    feature = audio_feature(0.25)
    refused: list[str] = []
    noted = 0
    for data in broken(whole, np.random.default_rng(3), 120):
        notes: list[str] = []
        try:
            clip = feature.encode(written(tmp_path / "broken", data), notes.append).bytes_list.value[0]
        except DataError as error:
            refused.append(str(error))
            continue
        assert 0 < len(clip) <= 2 * 4000
        noted += bool(notes)
    assert all(message.startswith("broken: ") and "\n" not in message for message in refused)
    assert len(refused) + noted > 40
    assert noted == 0 or form != "flac"


def test_every_changed_bit_of_a_flac_s_sound_is_found(tmp_path: Path) -> None:
    whole = encoded("flac", NOISE[:4096], 44100)
    for at in np.random.default_rng(0).integers(len(whole) // 4, len(whole) - 2, 40):
        data = bytearray(whole)
        data[at] ^= 1
        with pytest.raises(DataError, match="not a readable sound file"):
            read_middle(written(tmp_path / "flipped.flac", data), 9.0, no_note)


def test_an_mp3_that_breaks_off_in_zeros_gives_what_is_before_them(tmp_path: Path) -> None:
    whole = encoded("mp3", NOISE, 44100)
    half = len(whole) // 2
    path = written(tmp_path / "holed.mp3", whole[:half] + bytes(3000) + whole[half + 3000 :])
    notes: list[str] = []
    sound = read_middle(path, 9.0, notes.append)
    assert notes[0].startswith("holed.mp3: broken after 0.")
    assert notes[0].endswith("; the part before is used")
    assert 0.3 < len(sound.samples) / 44100 < 0.6
    plain = read_middle(written(tmp_path / "whole.mp3", whole), 9.0, no_note).samples
    np.testing.assert_array_equal(sound.samples[:15000], plain[:15000])


def test_an_ogg_with_a_page_missing_gives_the_rest_and_says_so(tmp_path: Path) -> None:
    whole = encoded("ogg", np.tile(NOISE, (4, 1)), 44100)
    pages = [at for at in range(len(whole)) if whole.startswith(b"OggS", at)]
    middle = len(pages) // 2
    path = written(tmp_path / "holed.ogg", whole[: pages[middle]] + whole[pages[middle + 1] :])
    notes: list[str] = []
    sound = read_middle(path, 9.0, notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("holed.ogg: has gaps (")
    assert 2 * 44100 < len(sound.samples) < 4 * 44100


def test_an_aiff_that_is_cut_short_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = encoded("aiff", NOISE, 44100)
    path = written(tmp_path / "cut.aiff", whole[: len(whole) // 2])
    notes: list[str] = []
    assert len(read_middle(path, 9.0, notes.append).samples) == pytest.approx(22050, abs=20)
    assert notes == [f"cut.aiff: cut short ({len(whole) // 2} of {len(whole)} bytes); the part that is there is used"]
