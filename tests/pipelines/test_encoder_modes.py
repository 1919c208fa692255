"""Encoders frozen, trained whole, trained layer by layer, and through low-rank adapters."""

from __future__ import annotations

import numpy as np
import pytest
import small_model
import tensorflow as tf
from layer_cases import TEXT_OPTIONS, TEXT_SCHEMA, VOCABULARY

from pipelines.config import Config, load_config
from pipelines.model.encoder_weights import encoder_scales
from towers.encoders.lora import LowRankDense
from towers.encoders.text import TextEncoder
from towers.two_tower import TwoTower

MODES = ("frozen", "finetune", "lora")


def encoder(layers: int = 2, width: int = 16) -> TextEncoder:
    tf.keras.utils.set_random_seed(1)
    options = {
        **TEXT_OPTIONS,
        "num_layers": layers,
        "hidden_dim": width,
        "num_heads": 2,
        "intermediate_dim": 4 * width,
        "dropout": 0,
    }
    return TextEncoder(TEXT_SCHEMA, VOCABULARY, **options)


def settings(mode: str) -> Config:
    return small_model.config(
        train={"encoders": mode, "lora_rank": 4}, item={"modality_dropout": 0, "id_dropout": 0.999}
    )


def camps(model: TwoTower) -> dict[str, object]:
    """Windows of one camp each; the words of an item tell its camp, its `feel` is noise."""
    rng = np.random.default_rng(0)
    batch = dict(small_model.batch(8, small_model.ITEMS))
    camp = np.arange(small_model.ITEMS) % 2
    words = rng.integers(5, 9, (small_model.ITEMS, 8)) + 4 * camp[:, None]
    words[:, 0], words[:, -1] = 2, 3
    index = rng.integers(0, small_model.ITEMS // 2, (8, small_model.LENGTH)) * 2 + (np.arange(8) % 2)[:, None]
    batch["item_index"] = tf.constant(index, tf.int32)
    batch["target"] = batch["positive"] = tf.ones([8, small_model.LENGTH], tf.bool)
    batch["times"] = tf.zeros([8, small_model.LENGTH], tf.int64)
    items = {"words": tf.constant(words, tf.int32), "feel": batch["fresh"]["feel"]}
    model.fill_cache({name: value.numpy() for name, value in model.encode_items(items).items()})
    del batch["spans"]
    if any(encoder.trainable for encoder in model.item_encoders.values()):
        return {**batch, "fresh": items, "fresh_index": tf.range(small_model.ITEMS)}
    del batch["fresh"], batch["fresh_index"]
    return batch


def variables(model: TwoTower) -> dict[str, np.ndarray]:
    words = model.item_encoders["words"]
    return {f"{position} {variable.name}": variable.numpy() for position, variable in enumerate(words.variables)}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_model_learns_camps_from_content_and_moves_what_its_mode_says(mode: str) -> None:
    model = small_model.model(settings(mode))
    model.presence = tf.ones_like(model.presence)
    model.id_index = tf.range(small_model.ITEMS)
    batch = camps(model)
    before = variables(model)
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    history = model.fit(tf.data.Dataset.from_tensors(batch).repeat(60), epochs=2, steps_per_epoch=30, verbose=0).history
    # Twelve items, six in a camp: log 12 = 2.48 for who knows nothing, log 6 = 1.79 for who knows the camp.
    assert history["retrieval_loss"][-1] < 2.0
    after = variables(model)
    moved = {name for name in before if (before[name] != after[name]).any()}
    if mode == "frozen":
        assert not moved
    elif mode == "finetune":
        assert any("token_embedding" in name for name in moved)
        assert any("kernel" in name for name in moved)
    else:
        assert moved == {name for name in before if "lora_" in name}
        assert len(moved) == 4  # A and B of the query and of the value of one layer


@pytest.mark.slow
@pytest.mark.parametrize("adapters", [False, True])
def test_an_encoder_learns_by_itself(adapters: bool) -> None:
    """Against a fixed head: what is learned is in the encoder, in its adapters alone where it has some."""
    layer = encoder()
    if adapters:
        layer.add_adapters(4, 8.0)
    ids = tf.constant([[2, 5 + n % 8, 5 + (3 * n) % 8, 3] for n in range(16)])
    labels = tf.constant([float(n % 8 < 4) for n in range(16)])
    head = tf.random.stateless_normal([16], [1, 2])
    optimizer = tf.keras.optimizers.Adam(0.01)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = tf.linalg.matvec(layer(ids, training=True), head)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables, strict=True)
        )
        return loss

    losses = [float(step()) for _ in range(150)]
    assert losses[-1] < 0.3 * losses[0]


def test_adapters_change_nothing_before_the_first_step() -> None:
    layer = encoder()
    ids = tf.constant([[2, 5, 6, 3, 0, 0]])
    before = layer(ids).numpy()
    layer.add_adapters(4, 8.0)
    np.testing.assert_array_equal(layer(ids).numpy(), before)


def test_an_adapter_adds_its_low_rank_product_to_the_kernel() -> None:
    base = tf.keras.layers.Dense(2)
    base.build([None, 3])
    adapter = LowRankDense(base, rank=1, alpha=3.0)
    base.kernel.assign([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    adapter.a.assign([[1.0], [0.0], [2.0]])
    adapter.b.assign([[1.0, -1.0]])
    # x = (1, 2, 3): base gives (1, 2); x A = 7, times B = (7, -7), times alpha / r = 3.
    np.testing.assert_allclose(adapter(tf.constant([[1.0, 2.0, 3.0]])), [[22.0, -19.0]])
    assert [variable.name for variable in adapter.trainable_variables] == [adapter.a.name, adapter.b.name]


def test_adapters_are_under_two_percent_of_the_default_encoder() -> None:
    config = load_config()
    vocabulary = VOCABULARY + [f"word{n}" for n in range(config.build.vocabulary_size - len(VOCABULARY))]
    layer = TextEncoder(TEXT_SCHEMA, vocabulary, **config.encoder_options("text"))
    whole = sum(int(tf.size(variable)) for variable in layer.trainable_variables)
    layer.add_adapters(config.train.lora_rank, config.train.lora_alpha)
    trained = sum(int(tf.size(variable)) for variable in layer.trainable_variables)
    # Two layers, two projections each, A [128, 8] and B [8, 128].
    assert trained == 2 * 2 * 2 * 8 * 128
    assert trained < 0.02 * whole


def test_each_layer_learns_at_a_share_of_the_one_above() -> None:
    layer = encoder(layers=2)
    scales = encoder_scales([layer], 0.1, 0.5)
    assert len(scales) == len(layer.variables)
    found = {variable.name: scales[id(variable)] for variable in layer.variables}

    def share(part: str) -> set[float]:
        return {round(value, 6) for name, value in found.items() if part in name}

    assert share("transformer_layer_1") == {0.1}
    assert share("transformer_layer_0") == {0.05}
    assert share("embedding") == {0.025}


def test_adapters_learn_at_the_share_of_their_layer() -> None:
    layer = encoder(layers=2)
    layer.add_adapters(2, 4.0)
    scales = encoder_scales([layer], 0.1, 0.5)
    found = [round(scales[id(variable)], 6) for variable in layer.trainable_variables]
    assert found == [0.05] * 4 + [0.1] * 4
