"""Sound files of every coding that people have, on both ways in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from media_files import CODINGS, PCM16, SINE, audio_feature, encoded, ops_of, payload, sent, stored, tone, wav_bytes

from serving.export_check.gate import unknown_ops
from tfrecs.media.resample import resample


@pytest.mark.parametrize("name", CODINGS)
def test_every_coding_of_wav_gives_the_same_sine(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sine.wav"
    path.write_bytes(CODINGS[name])
    np.testing.assert_allclose(stored(audio_feature(0.5), path), SINE, atol=0.008 if name == "8 bits" else 1e-4)


@pytest.mark.parametrize("name", CODINGS)
def test_every_coding_of_wav_sent_raw_gives_the_samples_of_the_built_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sine.wav"
    path.write_bytes(CODINGS[name])
    np.testing.assert_allclose(sent(audio_feature(0.5), path), stored(audio_feature(0.5), path), atol=0.51 / 32768)


def test_reading_wavs_in_a_graph_uses_ops_of_a_stock_server_only() -> None:
    assert unknown_ops(ops_of(audio_feature(0.5))) == []


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
    ("form", "tolerance"), [("flac", 1e-4), ("flac24", 1e-4), ("aiff", 1e-4), ("ogg", 0.05), ("mp3", 0.01)]
)
def test_compressed_sound_is_the_same_sine_at_the_rate_of_its_header(
    form: str, tolerance: float, tmp_path: Path
) -> None:
    path = tmp_path / "sine.sound"
    path.write_bytes(encoded(form, tone(44100, 3.0), 44100))
    whole = stored(audio_feature(3.0), path)
    np.testing.assert_allclose(whole[800:-800], tone(16000, 3.0)[800:-800], atol=tolerance)
    np.testing.assert_allclose(stored(audio_feature(1.0), path)[800:-800], whole[16800:31200], atol=tolerance)


def test_sounds_encode_to_the_same_bytes_on_several_threads(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        noise = np.random.default_rng(number).normal(0, 4000, 30000).astype("<i2")
        paths.append(tmp_path / f"{number}.wav")
        paths[-1].write_bytes(wav_bytes(noise.tobytes(), rate=22050))
    feature = audio_feature(1.0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda path: payload(feature, path), paths)) == [payload(feature, path) for path in paths]


def test_clips_read_on_several_threads_are_not_mixed_up(tmp_path: Path) -> None:
    paths = []
    for number in range(6):
        form = ("ogg", "flac")[number % 2]
        paths.append(tmp_path / f"{number}.{form}")
        paths[-1].write_bytes(encoded(form, tone(44100, 0.3, 300.0 + 200 * number), 44100))
    feature = audio_feature(0.5)
    expected = [payload(feature, path) for path in paths]
    assert len(set(expected)) == 6
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: payload(feature, paths[at % 6]) == expected[at % 6], range(300)))
    assert all(found)
