"""Sound files that are broken: each is refused by name and reason, or gives what is there and says so."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from media_files import CODINGS, PCM16, SINE, audio_feature, encoded, payload, sent, stored, tone, wav_bytes

from tfrecs.errors import DataError, TriptychError

BROKEN_WAVS = {
    "empty": (b"", "the file is empty"),
    "garbage": (b"no sound in here " * 9, "not a readable MP3, FLAC, Ogg Vorbis, Ogg Opus, AIFF or WAV file"),
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
    "first byte lost": (wav_bytes(PCM16)[1:], "nothing in it says what it is"),
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


def test_a_flac_that_is_cut_short_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    whole = encoded("flac", np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
    feature = audio_feature(0.1)  # its middle is whole; the end is looked at all the same
    cuts = range(len(whole) // 2, len(whole), len(whole) // 40)
    assert len(cuts) > 15
    for at in cuts:
        (tmp_path / "cut.flac").write_bytes(whole[:at])
        with pytest.raises(DataError, match=r"^cut\.flac: not a readable sound file \(.*\)$"):
            feature.encode(tmp_path / "cut.flac")


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


def test_raw_clips_of_every_coding_are_usable_and_broken_ones_spoil_nothing_beside_them() -> None:
    feature = audio_feature(0.5)
    broken = [data for data, _ in BROKEN_WAVS.values() if data]
    broken += [CODINGS["16 bits"][:60], CODINGS["16 bits"][:4], encoded("flac", tone(16000, 0.5), 16000)]
    function = tf.function(feature.decode_raw, input_signature=[feature.raw_spec])
    clips, presence = function(tf.constant([*CODINGS.values(), *broken]))
    assert presence.numpy().tolist() == [True] * len(CODINGS) + [False] * len(broken)
    for name, clip in zip(CODINGS, clips.numpy(), strict=False):
        np.testing.assert_allclose(clip, SINE, atol=0.008 if name == "8 bits" else 1e-4, err_msg=name)
    assert not clips.numpy()[len(CODINGS) :].any()


def test_a_raw_wav_that_is_cut_short_gives_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "cut.wav").write_bytes(CODINGS["24 bits"][: 44 + 3 * 3200 + 1])
    feature = audio_feature(0.5)
    clip = sent(feature, tmp_path / "cut.wav")
    np.testing.assert_allclose(clip, stored(feature, tmp_path / "cut.wav"), atol=0.51 / 32768)
    assert np.abs(clip[:3200]).max() > 0.4
    assert not clip[3200:].any()


@pytest.mark.parametrize(
    "raw", [b"garbage", wav_bytes(PCM16, codec=7, bits=8), wav_bytes(PCM16, rate=0), wav_bytes(PCM16, rate=2**31 - 1)]
)
def test_a_raw_clip_that_cannot_be_used_is_missing_and_spoils_nothing_beside_it(raw: bytes) -> None:
    function = tf.function(audio_feature(0.5).decode_raw)
    good = CODINGS["16 bits"]
    clips, presence = function(tf.constant([raw, good, raw[:40], b"", good]))
    assert presence.numpy().tolist() == [False, True, False, False, True]
    alone, _ = function(tf.constant([good]))
    np.testing.assert_array_equal(clips[1], alone[0])
    np.testing.assert_array_equal(clips[4], alone[0])
    assert not clips.numpy()[[0, 2, 3]].any()
    assert function(tf.constant([raw]))[1].numpy().tolist() == [False]


def test_without_libsndfile_wav_is_read_and_the_rest_says_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ogg").write_bytes(encoded("ogg", tone(44100, 1.0), 44100))
    (tmp_path / "a.wav").write_bytes(CODINGS["16 bits"])
    monkeypatch.setitem(sys.modules, "tfrecs.media.libsndfile", None)
    assert payload(audio_feature(0.5), tmp_path / "a.wav")
    with pytest.raises(TriptychError, match=r"^a\.ogg: only WAV can be read here, .*; pip install soundfile") as caught:
        audio_feature(0.5).encode(tmp_path / "a.ogg")
    # Not this file's fault: the build must stop, not reject file by file.
    assert not isinstance(caught.value, DataError)
