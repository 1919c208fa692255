"""What the text, number, vector and categories kinds make of values: of any there are, and of all of them together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from feature_cases import CASES, examples, feature_of, strings
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecs.errors import DataError, SpecError
from tfrecs.modalities import resolve
from tfrecs.reading.features import feature_for, parse_batch
from tfrecs.schema import FeatureSchema


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
