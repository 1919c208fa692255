"""Every feature kind through the same checks: value -> Example -> batched parse -> decode, eager and in tf.data."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from feature_cases import CASES, Case, example, examples, feature_of, strings

from tfrecs.errors import DataError, SpecError
from tfrecs.modalities import kinds, resolve, row
from tfrecs.reading.features import feature_for, features_for, parse_batch, specs
from tfrecs.schema import FeatureSchema

by_kind = pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])


def assert_is(values: tf.Tensor, expected: np.ndarray, tolerance: float) -> None:
    if values.dtype == tf.string:
        assert strings(values.numpy()).tolist() == expected.tolist()
    else:
        assert values.dtype == expected.dtype
        np.testing.assert_allclose(values.numpy().astype(float), expected.astype(float), atol=tolerance, rtol=0)


def test_every_kind_has_a_case() -> None:
    assert sorted(case.kind for case in CASES) == sorted(kinds())
    assert [resolve(row(kind).feature).kind for kind in kinds()] == list(kinds())


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
    function = tf.function(feature.decode_raw, input_signature=[feature.raw_spec])
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
    with pytest.raises(SpecError, match=r"^feature 'clip': unknown kind 'video'; there are text, image, "):
        features_for([FeatureSchema(name="clip", kind="video")])


@by_kind
def test_plain_content_is_terms_or_finite_numbers_of_each_value(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    values, presence = parse_batch([feature], tf.constant(examples(feature, case.values(tmp_path))), "items")
    plain = feature.content(values["it"].numpy())
    if isinstance(plain, np.ndarray):
        assert plain.ndim == 2
        assert np.isfinite(plain).all()
    else:
        assert plain is not None
        assert all(isinstance(term, str) for terms in plain for term in terms)
        assert all(there or not terms for terms, there in zip(plain, presence.numpy()[:, 0], strict=True))
        assert any(plain)
    assert len(plain) == len(case.presence)


@by_kind
def test_descriptors_are_finite_and_equal_for_equal_values(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    values, _ = parse_batch([feature], tf.constant(examples(feature, case.values(tmp_path)) * 2), "items")
    descriptors = feature.descriptor(values["it"].numpy())
    count = len(case.presence)
    assert descriptors.dtype == np.float32
    assert descriptors.ndim == 2
    assert np.isfinite(descriptors).all()
    np.testing.assert_array_equal(descriptors[:count], descriptors[count:])
    assert len(np.unique(descriptors[:count], axis=0)) > 1


@by_kind
def test_a_value_is_rendered_as_one_html_element(case: Case, tmp_path: Path) -> None:
    feature = feature_of(case, tmp_path)
    values, presence = parse_batch([feature], tf.constant(examples(feature, case.values(tmp_path))), "items")
    for value, present in zip(values["it"].numpy(), presence.numpy()[:, 0], strict=True):
        if present:
            snippet = feature.render(value)
            assert re.fullmatch(r"<(\w+).*</\1>|<img [^<>]*>", snippet)
