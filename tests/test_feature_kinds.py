"""Every feature kind through the same checks: value -> Example bytes -> batched parse -> decode, eager and in tf.data."""

from __future__ import annotations

import json
import pickle
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrecs.errors import DataError, SpecError
from tfrecs.features import feature_for, features_for, parse_batch, raw_specs, specs
from tfrecs.kinds.base import Feature
from tfrecs.modalities import KINDS, resolve, row
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
        bad=[{"a": 1}, b"bytes", ["a", object()]],
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
        bad=[{"a": 1}, [b"a"], object()],
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

by_kind = pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])


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


def assert_is(values: tf.Tensor, expected: np.ndarray, tolerance: float) -> None:
    if values.dtype == tf.string:
        assert strings(values.numpy()).tolist() == expected.tolist()
    else:
        assert values.dtype == expected.dtype
        np.testing.assert_allclose(values.numpy().astype(float), expected.astype(float), atol=tolerance, rtol=0)


def test_every_kind_has_a_case() -> None:
    assert sorted(case.kind for case in CASES) == sorted(KINDS)
    assert [resolve(row(kind).feature).kind for kind in KINDS] == list(KINDS)


@by_kind
def test_values_survive_the_way_through_an_example(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    values, presence = parse_batch([feature], tf.constant(examples(feature, case.values(tmp_path))), "items")
    assert_is(values["it"], case.decoded, case.tolerance)
    assert presence.numpy().tolist() == [[there] for there in case.presence]


@by_kind
def test_tf_data_gives_what_eager_gives_with_static_shapes(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    serialized = examples(feature, case.values(tmp_path))[-2:]
    eager, _ = parse_batch([feature], tf.constant(serialized), "items")
    batches = tf.data.Dataset.from_tensor_slices(serialized).batch(2, drop_remainder=True)
    dataset = batches.map(lambda batch: parse_batch([feature], batch, "items"))
    assert dataset.element_spec[0]["it"].shape.as_list() == [2, *specs([feature])["it"].shape.as_list()]
    assert dataset.element_spec[1].shape.as_list() == [2, 1]
    ((values, _),) = list(dataset)
    assert values["it"].dtype == feature.spec.dtype
    np.testing.assert_array_equal(values["it"].numpy(), eager["it"].numpy())


@by_kind
def test_a_missing_value_and_an_absent_key_are_the_same(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    serialized = [
        example({"items/it": feature.encode(None)}),
        example({}),
        example({"items/it": feature.encode(np.nan)}),
    ]
    values, presence = parse_batch([feature], tf.constant(serialized), "items")
    assert presence.numpy().tolist() == [[False]] * 3
    neutral = b"" if feature.spec.dtype == tf.string else 0
    assert (values["it"].numpy() == neutral).all()
    assert values["it"].shape == [3, *feature.spec.shape]


@by_kind
def test_the_raw_form_decodes_to_the_same_without_foreign_ops(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    function = tf.function(feature.decode_raw, input_signature=[raw_specs([feature])["it"]])
    values, presence = function(tf.constant(case.raw(tmp_path), feature.raw_spec.dtype))
    assert_is(values, case.decoded, case.tolerance)
    assert presence.numpy().tolist() == case.presence
    concrete = function.get_concrete_function()
    assert concrete.structured_outputs[0].shape.as_list() == [None, *feature.spec.shape.as_list()]
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    ops = {node.op for node in nodes}
    assert len(ops) > 3
    assert not [op for op in ops if ">" in op or "PyFunc" in op]


@by_kind
def test_raw_and_stored_forms_agree(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    raw, _ = feature.decode_raw(tf.constant(case.raw(tmp_path), feature.raw_spec.dtype))
    stored, _ = parse_batch([feature], tf.constant(examples(feature, case.values(tmp_path))), "items")
    if feature.spec.dtype == tf.string:
        assert raw.numpy().tolist() == stored["it"].numpy().tolist()
    else:
        assert np.abs(raw.numpy().astype(float) - stored["it"].numpy().astype(float)).max() <= case.agreement


@by_kind
def test_an_empty_batch_decodes_to_an_empty_batch(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    shape = [0, *(size or 0 for size in feature.raw_spec.shape.as_list()[1:])]
    raw, raw_presence = feature.decode_raw(tf.zeros(shape, feature.raw_spec.dtype))
    values, presence = parse_batch([feature], tf.zeros([0], tf.string), "items")
    assert raw.shape == values["it"].shape == [0, *feature.spec.shape]
    assert raw_presence.shape == [0]
    assert presence.shape == [0, 1]


@by_kind
def test_a_value_that_cannot_be_used_is_refused_in_one_line(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    for value in case.bad:
        with pytest.raises(DataError) as caught:
            feature.encode(value)
        assert str(caught.value).strip()
        assert "\n" not in str(caught.value)


@by_kind
def test_values_that_are_refused_do_not_disturb_what_is_collected(case: Case, tmp_path: Path) -> None:
    values = case.values(tmp_path)
    kind = resolve(row(case.kind).feature)
    many = values * 20  # Those of other widths must stay a minority.
    assert kind.params_from(case.options, iter([*many, *case.bad])) == kind.params_from(case.options, many)


@by_kind
def test_wrong_options_are_named_with_those_there_are(case: Case) -> None:
    kind = resolve(row(case.kind).feature)
    with pytest.raises(SpecError, match=rf"^{case.kind}: unknown option 'colour'; its options: ") as caught:
        kind.params_from({**case.options, "colour": 1}, [])
    assert all(option in str(caught.value) for option in case.options)
    for option in case.required:
        rest = {name: value for name, value in case.options.items() if name != option}
        with pytest.raises(SpecError, match=rf"^{case.kind}: option '{option}' is required"):
            kind.params_from(rest, [])
    for option in case.options:
        with pytest.raises(SpecError, match=rf"^{case.kind}: option '{option}' is -3: "):
            kind.params_from({**case.options, option: -3}, [])
    with pytest.raises(SpecError, match=r"^feature 'it': unknown option 'colour'"):
        feature_for(FeatureSchema(name="it", kind=case.kind, params={**case.options, "colour": 1}))


@by_kind
def test_encoding_is_deterministic_also_in_a_copy(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    values = case.values(tmp_path)
    copy = pickle.loads(pickle.dumps(feature))
    assert examples(feature, values) == examples(feature, values) == examples(copy, values)


def test_all_features_are_parsed_at_once_in_the_order_of_the_schema(tmp_path: Path) -> None:
    features = []
    payloads: dict[str, tf.train.Feature] = {}
    for number, case in enumerate(CASES):
        params = feature_of(case, tmp_path).schema.params
        features.append(feature_for(FeatureSchema(name=f"f{9 - number}", kind=case.kind, params=params)))
        if number % 2 == 0:
            payloads[f"users/f{9 - number}"] = features[-1].encode(case.values(tmp_path)[0])
    function = tf.function(lambda batch: parse_batch(features, batch, "users"))
    values, presence = function(tf.constant([example(payloads), example({})]))
    assert list(values) == ["f9", "f8", "f7", "f6", "f5", "f4"]
    assert presence.numpy().tolist() == [[True, False, True, False, True, False], [False] * 6]
    graph = function.get_concrete_function(tf.TensorSpec([2], tf.string)).graph
    assert [op.type for op in graph.get_operations() if op.type.startswith("Parse")] == ["ParseExampleV2"]


def test_no_features_give_no_values_and_no_columns_of_presence() -> None:
    values, presence = parse_batch([], tf.constant([example({}), example({})]), "users")
    assert values == {}
    assert presence.shape == [2, 0]


def test_an_unknown_kind_names_the_feature_and_those_there_are() -> None:
    with pytest.raises(SpecError, match="^feature 'clip': unknown kind 'video'; there are text, image, "):
        features_for([FeatureSchema(name="clip", kind="video")])


def test_half_a_surrogate_pair_does_not_cost_the_text() -> None:
    feature = feature_for(FeatureSchema(name="it", kind="text"))
    assert feature.encode("a \ud83d b").bytes_list.value[0] == b"a ? b"


def test_number_collects_mean_and_population_deviation() -> None:
    kind = resolve("tfrecs.kinds.number:NumberFeature")
    assert kind.params_from({}, [2, "4", None, "x", 6.0, ""]) == {"mean": 4.0, "std": pytest.approx((8 / 3) ** 0.5)}
    assert kind.params_from({}, [5, 5]) == {"mean": 5.0, "std": 1.0}
    assert kind.params_from({}, []) == {"mean": 0.0, "std": 1.0}


def test_vector_collects_width_mean_and_deviation_of_the_prevailing_width() -> None:
    kind = resolve("tfrecs.kinds.vector:VectorFeature")
    params = kind.params_from({}, [[1, 5], None, [3, 5], [1, 2, 3]])
    assert params == {"dim": 2, "mean": [2.0, 5.0], "std": [1.0, 1.0]}
    with pytest.raises(SpecError, match=r"different widths, 1 \(1 values\), 2 \(1 values\)"):
        kind.params_from({}, [[1], [1, 2]])
    with pytest.raises(SpecError, match="not one usable vector"):
        kind.params_from({}, [None, "abc"])


def test_categories_collect_the_most_frequent_first_and_ties_in_order() -> None:
    kind = resolve("tfrecs.kinds.categories:CategoriesFeature")
    values = ["b,a,b", ["c", "a"], None, "d"]
    assert kind.params_from({}, values) == {"max_values": 2, "vocabulary": ["a", "b", "c", "d"], "separator": None}
    assert kind.params_from({"max_values": 1, "max_vocabulary": 2}, values)["vocabulary"] == ["a", "b"]
    assert kind.params_from({"max_values": 1}, values)["max_values"] == 1
    assert kind.params_from({"max_values": 9}, values)["max_values"] == 2
    assert kind.params_from({}, [])["max_values"] == 1


def test_categories_are_split_at_the_separator_that_is_given_and_no_other() -> None:
    kind = resolve("tfrecs.kinds.categories:CategoriesFeature")
    params = kind.params_from({"separator": " / "}, ["a,b / c|d"])
    assert params["vocabulary"] == ["a,b", "c|d"]
    feature = feature_for(FeatureSchema(name="it", kind="categories", params=params))
    assert list(feature.encode("c|d / a,b").bytes_list.value) == [b"c|d", b"a,b"]


def test_the_record_keeps_the_categories_that_a_decoded_value_has_no_room_for() -> None:
    feature = feature_of(CASES[3], Path())
    assert list(feature.encode(["z", "y", "x"]).bytes_list.value) == [b"z", b"y", b"x"]


any_text = st.text(st.characters(codec="utf-8"), max_size=30)
spaced = st.tuples(st.sampled_from(["", " ", "\n", "\u2003", "\x1f", "\x85", "\x00"]), any_text).map("".join)
quick = settings(max_examples=60, deadline=None)


@quick
@given(st.lists(spaced, min_size=1, max_size=8))
def test_any_text_comes_back_stripped_in_both_forms(texts: list[str]) -> None:
    feature = feature_for(FeatureSchema(name="it", kind="text"))
    values, presence = parse_batch([feature], tf.constant(examples(feature, texts)), "items")
    assert strings(values["it"].numpy()).tolist() == [text.strip() for text in texts]
    assert presence[:, 0].numpy().tolist() == [bool(text.strip()) for text in texts]
    raw, raw_presence = feature.decode_raw(tf.constant([text.encode() for text in texts]))
    assert raw.numpy().tolist() == values["it"].numpy().tolist()
    assert raw_presence.numpy().tolist() == presence[:, 0].numpy().tolist()


numbers = st.floats(width=32) | st.integers(-(2**24), 2**24) | st.none()


@quick
@given(st.lists(numbers, min_size=1, max_size=8))
def test_any_number_comes_back_as_float32_or_is_refused(given_numbers: list[float | None]) -> None:
    feature = feature_for(FeatureSchema(name="it", kind="number", params={"mean": 0.0, "std": 1.0}))
    finite = [number for number in given_numbers if number is None or not np.isinf(number)]
    for number in given_numbers:
        if number is not None and np.isinf(number):
            with pytest.raises(DataError, match="infinite"):
                feature.encode(number)
    values, presence = parse_batch([feature], tf.constant(examples(feature, [*finite, None])), "items")
    there = [number is not None and not np.isnan(number) for number in finite]
    assert presence[:, 0].numpy().tolist() == [*there, False]
    expected = [number if ok else 0.0 for number, ok in zip(finite, there, strict=True)]
    assert values["it"].numpy().tolist() == [*expected, 0.0]


@quick
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_in_a_string_is_that_number(number: float) -> None:
    feature = feature_for(FeatureSchema(name="it", kind="number", params={"mean": 0.0, "std": 1.0}))
    assert feature.encode(f" {number!r} ") == feature.encode(number)


@quick
@given(st.lists(st.lists(st.none() | spaced, max_size=5), min_size=1, max_size=6))
def test_any_categories_come_back_stripped_once_each_in_order(given_lists: list[list[str | None]]) -> None:
    kind = resolve("tfrecs.kinds.categories:CategoriesFeature")
    feature = feature_for(FeatureSchema(name="it", kind="categories", params=kind.params_from({}, given_lists)))
    expected = []
    for several in given_lists:
        found: list[str] = []
        for one in several:
            if one is not None and one.strip() and one.strip() not in found:
                found.append(one.strip())
        expected.append(found)
    width = feature.spec.shape[0]
    assert width == max([1, *map(len, expected)])
    padded = [found + [""] * (width - len(found)) for found in expected]
    values, presence = parse_batch([feature], tf.constant(examples(feature, given_lists)), "items")
    assert strings(values["it"].numpy()).tolist() == padded
    assert presence[:, 0].numpy().tolist() == [bool(found) for found in expected]
    longest = max(map(len, given_lists))
    raw = [[(one or "").encode() for one in several] + [b""] * (longest - len(several)) for several in given_lists]
    raw_values, _ = feature.decode_raw(tf.reshape(tf.constant(raw, tf.string), [len(raw), longest]))
    assert raw_values.numpy().tolist() == values["it"].numpy().tolist()
