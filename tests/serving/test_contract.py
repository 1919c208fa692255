"""The signatures of the SavedModel contract on a small model: inputs and outputs at every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from contract_requests import CATEGORIES, IDS, request, returned_ids
from small_model import ITEMS, LENGTH, config, model

from pipelines.exporting.serving_adapter import TowerRecommender
from serving.graph.selection import unit
from serving.graph.signatures import ServingModule

pytestmark = pytest.mark.slow

MAX_K = 50


@pytest.fixture(scope="module")
def module() -> ServingModule:
    trained = model(config())
    item_embeddings, weights = trained.item_embeddings()
    return ServingModule(
        TowerRecommender(trained, None), IDS, item_embeddings.numpy(), weights.numpy(), CATEGORIES, pool=5, max_k=MAX_K
    )


@pytest.fixture(scope="module")
def signatures(module: ServingModule) -> dict[str, Any]:
    return module.signatures()


def strings(*rows: list[str]) -> np.ndarray:
    return np.array(rows, object)


def ask(signatures: dict[str, Any], histories: list[list[str]], **changes: Any) -> dict[str, np.ndarray]:
    outputs = signatures["recommend"](**request(histories, **changes))
    return {name: value.numpy() for name, value in outputs.items()}


HISTORIES = [["i1", "i2"], [], ["i3"], ["i4", "i5", "i6", "i7"], ["i0"], ["nobody"], ["i11", "i10"]]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_any_batch_size(signatures: dict[str, Any], size: int) -> None:
    outputs = ask(signatures, HISTORIES[:size])
    assert set(outputs) == {"ids", "scores", "like", "rating", "modality_weights", "because_ids"}
    width = 4 if size else 1  # of no rows there is no largest k
    assert outputs["modality_weights"].shape == (size, width, 2)
    assert {value.shape for name, value in outputs.items() if name != "modality_weights"} == {(size, width)}


@pytest.mark.parametrize("ks", [[4] * 7, [1, 3, 2, 9, 1, 30, 5]])
@pytest.mark.parametrize("diversities", [np.zeros(7), np.linspace(0, 1, 7)])
def test_a_row_of_a_batch_is_answered_as_if_it_were_alone_and_ends_in_nothing_behind_its_k(
    signatures: dict[str, Any], ks: list[int], diversities: np.ndarray
) -> None:
    diversity = diversities.astype(np.float32)
    together = ask(signatures, HISTORIES, diversity=diversity, k=ks)
    assert together["ids"].shape == (7, max(ks))
    for row, (history, k) in enumerate(zip(HISTORIES, ks, strict=True)):
        alone = ask(signatures, [history], diversity=diversity[row : row + 1], k=k)
        assert returned_ids(together, row) == [*returned_ids(alone), *[""] * (max(ks) - k)]
        for name in ("scores", "like", "rating", "modality_weights"):
            np.testing.assert_allclose(together[name][row, :k], alone[name][0], atol=1e-5)
        assert_nothing(together, row, slice(k, None))


def assert_nothing(outputs: dict[str, np.ndarray], row: int, columns: slice) -> None:
    """These columns hold no item: each output has what it has for none."""
    assert (outputs["ids"][row, columns] == b"").all()
    assert np.isneginf(outputs["scores"][row, columns]).all()
    assert np.isnan(outputs["like"][row, columns]).all()
    assert np.isnan(outputs["rating"][row, columns]).all()
    assert (outputs["modality_weights"][row, columns] == 0).all()
    assert (outputs["because_ids"][row, columns] == b"").all()


@pytest.mark.parametrize(
    ("signature", "name", "values"),
    [("similar", "item_ids", ["i1", "i7", "nobody"]), ("search", "query", ["a", "b", ""])],
)
def test_rows_of_search_and_similar_have_a_k_each(
    signatures: dict[str, Any], signature: str, name: str, values: list[str]
) -> None:
    ks = [3, 1, 5]
    together = signatures[signature](**{name: tf.constant(values), "k": tf.constant(ks)})
    assert together["ids"].shape == (3, 5)
    for row, k in enumerate(ks):
        alone = signatures[signature](**{name: tf.constant(values[row : row + 1]), "k": tf.constant([k])})
        assert together["ids"][row].numpy().tolist() == [*alone["ids"][0].numpy().tolist(), *[b""] * (5 - k)]
        np.testing.assert_allclose(together["scores"][row, :k], alone["scores"][0], atol=1e-5)
        assert np.isneginf(together["scores"][row, k:]).all()


@pytest.mark.parametrize("history", [["i1", "i2"], [], ["", "nobody", "i3"]])
def test_the_simple_signature_recommends_from_a_history_with_all_else_unknown(
    signatures: dict[str, Any], history: list[str]
) -> None:
    simple = signatures["recommend_simple"](history_ids=tf.constant([history], tf.string), k=tf.constant([5]))
    unknown = {
        "history_values": np.full([1, len(history)], np.nan, np.float32),
        "history_times": np.zeros([1, len(history)], np.int64),
        "now": np.zeros([1], np.int64),
        "device": np.array([""], object),
        "age": np.full([1], np.nan, np.float32),
    }
    expected = ask(signatures, [history], k=5, **unknown)
    assert set(simple) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(simple[name].numpy(), value)


def test_every_input_of_every_signature_has_the_batch_axis(signatures: dict[str, Any]) -> None:
    assert set(signatures) == {
        *("recommend", "serving_default", "recommend_simple", "rank", "search", "similar", "embed_items"),
    }
    for name, function in signatures.items():
        for spec in specs(function):
            assert spec.shape[0] is None, (name, spec.name)
        for value in function(**empty_inputs(function)).values():
            assert value.shape[0] == 0, name


def empty_inputs(function: Any) -> dict[str, tf.Tensor]:
    """Inputs of no rows."""
    return {spec.name: tf.zeros([0, *(size or 0 for size in spec.shape[1:])], spec.dtype) for spec in specs(function)}


def specs(function: Any) -> list[tf.TensorSpec]:
    positional, named = function.structured_input_signature
    return [*positional, *named.values()]


def test_of_a_history_longer_than_trained_the_newest_events_count(signatures: dict[str, Any]) -> None:
    everything = [f"i{number}" for number in range(LENGTH + 3)]
    inputs = request([everything])
    newest = {name: inputs[name][:, 3:] for name in ("history_ids", "history_values", "history_times")}
    whole = ask(signatures, [everything], k=ITEMS)
    tail = ask(signatures, [everything[3:]], **newest, exclude_ids=strings(everything[:3]), k=ITEMS)
    # The old events are no history any more, but still nothing to recommend.
    assert returned_ids(whole) == returned_ids(tail)
    assert set(returned_ids(whole)) == {"i9", "i10", "i11", ""}
    np.testing.assert_allclose(whole["scores"], tail["scores"], atol=1e-5)
    assert set(whole["because_ids"][0]) <= {item.encode() for item in [*everything[3:], ""]}


@pytest.mark.parametrize("diversity", [0.0, 0.6])
def test_k_beyond_the_catalogue_ends_in_nothing(signatures: dict[str, Any], diversity: float) -> None:
    outputs = ask(signatures, [["i1"]], k=MAX_K, diversity=np.array([diversity], np.float32))
    assert set(returned_ids(outputs)[: ITEMS - 1]) == set(IDS) - {"i1"}
    assert outputs["ids"].shape == (1, MAX_K)
    assert_nothing(outputs, 0, slice(ITEMS - 1, None))
    np.testing.assert_allclose(outputs["modality_weights"][0, : ITEMS - 1].sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 2**31 - 1])
def test_a_k_that_cannot_be_answered_is_named(signatures: dict[str, Any], k: int) -> None:
    least, most = sorted([3, k])
    reason = rf"k must be between 1 and {MAX_K}; smallest and largest of the rows:\] \[{least}\] \[{most}\]"
    for signature, values in K_SIGNATURES.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            signatures[signature](**values, k=tf.constant([3, k, 3]))


K_SIGNATURES = {
    "recommend": {name: value for name, value in request([["i1"], [], []]).items() if name != "k"},
    "recommend_simple": {"history_ids": tf.constant([["i1"], [""], [""]])},
    "similar": {"item_ids": tf.constant(["i1", "i2", "i3"])},
    "search": {"query": tf.constant(["a", "b", ""])},
}


@pytest.mark.parametrize("k", [[4], [4] * 4])
def test_a_k_of_another_number_of_rows_is_named(signatures: dict[str, Any], k: list[int]) -> None:
    for signature, values in K_SIGNATURES.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"k must be int32 \[B\], one for each row of"):
            signatures[signature](**values, k=tf.constant(k))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("history_values", np.ones([2, 1], np.float32)),
        ("history_values", np.ones([1, 2], np.float32)),
        ("history_times", np.ones([2, 3], np.int64)),
        ("now", np.ones([1], np.int64)),
        ("query", np.full([1], "", object)),
        ("exclude_ids", np.full([1, 1], "i5", object)),
        ("categories", np.full([3, 1], "odd", object)),
        ("diversity", np.zeros([1], np.float32)),
        ("device", np.full([1], "tv", object)),
        ("age", np.full([1], 30.0, np.float32)),
    ],
)
def test_an_input_of_another_size_is_named_rather_than_stretched(
    signatures: dict[str, Any], name: str, value: np.ndarray
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must have the"):
        ask(signatures, [["i1", "i2"], ["i3"]], **{name: value})


def test_exclusions_filters_and_history_leave_out_what_they_say(signatures: dict[str, Any]) -> None:
    outputs = ask(
        signatures,
        [["i1"], ["i1"], ["i1"], ["i1"]],
        exclude_ids=strings(["i2", "nobody"], ["", ""], ["i3", "i5"], ["", ""]),
        categories=strings(["", ""], ["even", "big"], ["odd", ""], ["nothing is here", ""]),
        k=ITEMS,
    )
    assert set(returned_ids(outputs, 0)) - {""} == set(IDS) - {"i1", "i2"}
    assert set(returned_ids(outputs, 1)) - {""} == {"i0", "i2", "i4", "i6", "i8", "i10", "i7", "i9", "i11"}
    assert set(returned_ids(outputs, 2)) - {""} == {"i7", "i9", "i11"}
    assert set(returned_ids(outputs, 3)) == {""}


def test_more_diversity_gives_lists_whose_items_are_less_alike(
    module: ServingModule, signatures: dict[str, Any]
) -> None:
    vectors = unit(module.item_embeddings)[:ITEMS].numpy()

    def alike(outputs: dict[str, np.ndarray]) -> float:
        rows = vectors[[IDS.index(item) for item in returned_ids(outputs)]]
        return float((rows @ rows.T)[np.triu_indices(len(rows), 1)].mean())

    plain, some, most = (ask(signatures, [[]], diversity=np.array([level], np.float32)) for level in (0.0, 0.5, 1.0))
    assert alike(most) < alike(plain)
    assert alike(most) <= alike(some) <= alike(plain)
    assert returned_ids(plain)[0] == returned_ids(some)[0]  # nothing is taken yet that it could be like
    assert plain["scores"].sum() >= some["scores"].sum()


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_a_diversity_outside_its_range_is_named(signatures: dict[str, Any], diversity: float) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="diversity must be between 0 and 1"):
        ask(signatures, [["i1"]], diversity=np.array([diversity], np.float32))


def test_the_reason_is_the_item_of_the_history_with_the_largest_cosine(
    module: ServingModule, signatures: dict[str, Any]
) -> None:
    history = ["i2", "i8", "i5"]
    outputs = ask(signatures, [history, []])
    vectors = unit(module.item_embeddings)[:ITEMS].numpy()
    events = vectors[[IDS.index(item) for item in history]]
    for item, because in zip(returned_ids(outputs), outputs["because_ids"][0], strict=True):
        assert because.decode() == history[int(np.argmax(events @ vectors[IDS.index(item)]))]
    assert (outputs["because_ids"][1] == b"").all()


def test_rank_gives_what_recommend_gives_for_the_same_items(signatures: dict[str, Any]) -> None:
    best = ask(signatures, [["i1"], []])
    inputs = {name: value for name, value in request([["i1"], []]).items() if name != "k"}
    candidates = np.concatenate([best["ids"], [[b"nobody"], [b""]]], axis=1)
    ranked = signatures["rank"](**inputs, candidate_ids=tf.constant(candidates))
    for name in ("scores", "like", "rating"):
        np.testing.assert_allclose(ranked[name].numpy()[:, :4], best[name], atol=1e-5)
    assert np.isneginf(ranked["scores"].numpy()[:, 4]).all()
    assert np.isnan(ranked["rating"].numpy()[:, 4]).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="candidate_ids must have the number of rows"):
        signatures["rank"](**inputs, candidate_ids=tf.constant([["i1"]]))


def test_rank_checks_the_inputs_it_has_no_use_for(signatures: dict[str, Any]) -> None:
    inputs = {name: value for name, value in request([["i1"], []]).items() if name != "k"}
    inputs["candidate_ids"] = tf.constant([["i1"], ["i2"]])
    for name in ("exclude_ids", "categories"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} must have the number of rows"):
            signatures["rank"](**{**inputs, name: tf.constant([["i1"]] * 3)})
    with pytest.raises(tf.errors.InvalidArgumentError, match="diversity must have the number of rows"):
        signatures["rank"](**{**inputs, "diversity": tf.zeros([1])})
    with pytest.raises(tf.errors.InvalidArgumentError, match="diversity must be between 0 and 1"):
        signatures["rank"](**{**inputs, "diversity": tf.constant([0.0, 2.0])})


def test_embedding_refuses_what_is_of_no_use_by_input_and_row(signatures: dict[str, Any]) -> None:
    nan = float("nan")
    feel = tf.constant([[1.0, 2.0, 3.0, 4.0], [nan] * 4])
    outputs = signatures["embed_items"](words=tf.constant(["a b", ""]), feel=feel)
    assert set(outputs) == {"embedding", "modality_weights"}
    alone = signatures["embed_items"](words=tf.constant(["a b"]), feel=feel[:1])
    np.testing.assert_allclose(outputs["embedding"][0], alone["embedding"][0], atol=1e-6)
    np.testing.assert_allclose(outputs["modality_weights"].numpy()[1], [0, 0], atol=1e-6)
    broken = tf.constant([[1.0, 2.0, 3.0, 4.0], [1.0, nan, 3.0, 4.0], [1.0, nan, 3.0, 4.0]])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"feel cannot be used: blank, not finite, .*in row.*1"):
        signatures["embed_items"](words=tf.constant(["a b"] * 3), feel=broken)
    with pytest.raises(tf.errors.InvalidArgumentError, match="words must have the number of items in feel"):
        signatures["embed_items"](words=tf.constant(["a"]), feel=feel)
    nothing = signatures["embed_items"](words=tf.constant([], tf.string), feel=tf.zeros([0, 4]))
    assert nothing["embedding"].shape[0] == 0
