"""Images through a network of `tf.keras.applications` whose weights are a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.exporting import exporter as export
from pipelines.hybrid.trained_run import load_trained
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.errors import DataError, SpecError, TriptychError
from towers.encoders.image import ImageEncoder

SCHEMA = {"name": "image", "kind": "image", "params": {"size": 32}}
PIXELS = np.random.default_rng(0).integers(0, 256, [3, 32, 32, 3]).astype(np.uint8)


def network(name: str = "MobileNetV2", **changes: float) -> tf.keras.Model:
    """A network with weights of its own, as somebody may have saved it."""
    tf.keras.utils.set_random_seed(7)
    constructor = getattr(tf.keras.applications, name)
    made = constructor(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg", **changes)
    for variable in made.variables:
        # As trained ones: with the initial 1 a picture fades to 1e-12 on its way through 52 layers.
        if variable.name.endswith("moving_variance:0"):
            variable.assign(tf.fill(variable.shape, 0.05))
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network().save_weights(path)
    return path


def options(weights: Path | str | None, backbone: str = "MobileNetV2") -> dict[str, object]:
    return {"backbone": backbone, "weights": None if weights is None else str(weights), "filters": (8,)}


def shop(folder: Path) -> Path:
    """Twelve items with a picture, six users."""
    (folder / "images").mkdir(parents=True)
    for item in range(12):
        Image.new("RGB", (40, 36), (20 * item, 255 - 20 * item, 90)).save(folder / "images" / f"{item}.png")
    items = [f"i{item},Film {item},images/{item}.png" for item in range(12)]
    events = [f"u{u},i{(u * 5 + 3 * n) % 12},{1_513_000_000 + 100 * n + u}" for u in range(6) for n in range(10)]
    (folder / "items.csv").write_text("item_id,title,image\n" + "\n".join(items) + "\n")
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(events) + "\n")
    (folder / "dataset.yaml").write_text(
        "name: shop\n"
        "items: {file: items.csv, id: item_id, title: title, features: {image: {kind: image, column: image, size: 32}}}\n"
        "interactions: {file: interactions.csv, user: user_id, item: item_id, time: timestamp}\n"
    )
    return folder


def test_an_encoding_is_that_of_the_network_with_the_pixels_that_it_was_trained_on(weights: Path) -> None:
    encoder = ImageEncoder(SCHEMA, **options(weights))
    before = encoder(tf.constant(PIXELS)).numpy()
    encoder.load_pretrained()
    # MobileNet's own preprocessing: from -1 to 1.
    expected = network()(PIXELS.astype(np.float32) / 127.5 - 1.0, training=False)
    np.testing.assert_allclose(encoder(tf.constant(PIXELS)), expected, rtol=1e-3, atol=1e-3)
    assert np.abs(before - expected).max() > 0.1


@pytest.mark.slow
def test_colours_are_turned_and_centred_for_a_network_of_caffes() -> None:
    encoder = ImageEncoder(SCHEMA, **options(None, "VGG16"))
    centred = PIXELS[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    expected = encoder.backbone(centred, training=False)
    np.testing.assert_allclose(encoder(tf.constant(PIXELS)), expected, rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_of_the_network_are_refused_in_one_line(tmp_path: Path) -> None:
    network(alpha=0.35).save_weights(tmp_path / "narrow.weights.h5")
    (tmp_path / "text.weights.h5").write_text("no HDF5")
    for name in ("narrow.weights.h5", "text.weights.h5"):
        said = rf"^image\.weights={tmp_path}/{name}: not the weights of MobileNetV2 without its top .*; name a file of"
        with pytest.raises(DataError, match=said) as error:
            ImageEncoder(SCHEMA, **options(tmp_path / name)).load_pretrained()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("backbone", "weights", "said"),
    [
        (
            "MobileNetV2",
            "nowhere.h5",
            r"nowhere\.h5: no such file; save MobileNetV2\(include_top=False\)\.save_weights",
        ),
        ("small", "some.h5", "the small backbone has no pretrained weights; name a class"),
        ("Nothing", None, "image.backbone=Nothing: tf.keras.applications has no such class; name one"),
        ("mobilenet_v2", None, "tf.keras.applications has no such class"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_done(
    backbone: str, weights: str | None, said: str
) -> None:
    with pytest.raises(TriptychError, match=said) as error:
        ImageEncoder.resolve_options(options(weights, backbone))
    assert "\n" not in str(error.value)


def test_pictures_that_are_too_small_for_the_network_are_told_with_the_remedy() -> None:
    with pytest.raises(SpecError, match=r"InceptionV3: takes no pictures of 32 pixels .*75x75.*larger size") as error:
        ImageEncoder(SCHEMA, **options(None, "InceptionV3"))
    assert "\n" not in str(error.value)


@pytest.mark.matrix
@pytest.mark.slow
def test_a_run_starts_from_the_weights_and_stands_without_their_file(tmp_path: Path, weights: Path) -> None:
    own = tmp_path / "own.weights.h5"
    own.write_bytes(weights.read_bytes())
    small = ["user.hidden_dim=8", "user.num_layers=1", "train.epochs=1", "train.encoders=frozen"]
    small += ["hybrid.regularizations=[100]", "hybrid.softness=[1]", "export.parity_requests=2"]
    config = load_config(None, ["image.backbone=MobileNetV2", f"image.weights={own}", *small])
    records = build.run(build.BuildJob(shop(tmp_path / "shop"), tmp_path / "records", config)).out
    train.run(train.TrainJob(records, tmp_path / "run", config))
    own.unlink()
    encoder = load_trained(RunFolder(tmp_path / "run")).model.item_encoders["image"]
    expected = network()(PIXELS.astype(np.float32) / 127.5 - 1.0, training=False)
    np.testing.assert_allclose(encoder(tf.constant(PIXELS)), expected, rtol=1e-3, atol=1e-3)
    # Raises where the served answers differ in a fresh process, or where an op is not one that stock servers have.
    exported = export.run(export.ExportJob(tmp_path / "run", tmp_path / "models" / "shop"))
    assert exported.gate.requests == 2
    loaded = tf.saved_model.load(str(exported.path)).signatures["embed_items"]
    pictures = [(tmp_path / "shop" / "images" / f"{item}.png").read_bytes() for item in (0, 11)]
    embedding = loaded(image=tf.constant(pictures))["embedding"].numpy()
    assert np.isfinite(embedding).all()
    assert np.abs(embedding[0] - embedding[1]).max() > 1e-3
