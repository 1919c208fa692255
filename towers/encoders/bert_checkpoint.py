"""Loads pretrained BERT weights for keras-nlp's `BertBackbone`: from a Hugging Face folder or a keras-nlp preset."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

with contextlib.redirect_stdout(io.StringIO()):  # a dependency prints the backend's name at import
    import keras_nlp

from tfrecs.errors import DataError
from towers.encoders.checkpoint_folder import (
    INSTALLED,
    Folder,
    installed_folder,
    read_json,
    read_vocabulary,
    vocabulary_of,
)
from towers.encoders.text_backbones import transformer_layers

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_PRESET_VOCABULARY = "assets/tokenizer/vocabulary.txt"
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_approximate", "gelu_pytorch_tanh": "gelu_approximate"}
_LAYER_NORM = 1e-12  # keras-nlp's BERT has this epsilon built in


@dataclass(frozen=True)
class BertCheckpoint:
    """A checkpoint, whose weights are read on demand.

    Attributes:
      name: as the user named it.
      shape: num_layers, num_heads, hidden_dim, intermediate_dim, activation ("gelu", "gelu_approximate") and lowercase.
      positions: length of the longest sequence.
      pooling: "mean" or "cls" where the checkpoint names its pooling, else None.
      vocabulary: WordPiece tokens, `[PAD]` first.
      weights: reads the weights, by the names of `bert_variables`.
    """

    name: str
    shape: dict[str, Any]
    positions: int
    pooling: str | None
    vocabulary: list[str]
    weights: Callable[[], dict[str, np.ndarray]]


def open_checkpoint(name: str) -> BertCheckpoint:
    """Open a checkpoint: one of `INSTALLED`, a folder, or the name or handle (`kaggle://`, `hf://`) of a keras-nlp preset.

    Raises:
      DataError: no such package, folder or preset, not a BERT that `BertBackbone` can represent, or it cannot be fetched.
    """
    if name in INSTALLED:
        return _hugging_face(name, installed_folder(name))
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG_FILE).is_file():
            raise DataError(f"{folder}: no {CONFIG_FILE} there; text.checkpoint names a folder with a BERT checkpoint")
        keras = "registered_name" in read_json(folder / CONFIG_FILE)
        return _preset(name) if keras else _hugging_face(name, folder)
    presets = keras_nlp.models.BertBackbone.presets
    if name not in presets and "://" not in name:
        raise DataError(
            f"text.checkpoint={name}: no such folder, and no preset of BERT; there are {', '.join([*INSTALLED, *presets])}"
        )
    return _preset(name)


def bert_variables(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """Return the variables of a model with `BertBackbone`'s layers, by names that do not depend on keras-nlp."""
    norm = model.get_layer("embeddings_layer_norm")
    variables = {
        "token_embedding": model.get_layer("token_embedding").embeddings,
        "position_embedding": model.get_layer("position_embedding").position_embeddings,
        "segment_embedding": model.get_layer("segment_embedding").embeddings,
        "embedding_norm/gamma": norm.gamma,
        "embedding_norm/beta": norm.beta,
    }
    for number, layer in enumerate(transformer_layers(model)):
        attention = layer._self_attention_layer
        for part, dense in (
            ("query", attention._query_dense),
            ("key", attention._key_dense),
            ("value", attention._value_dense),
            ("attention_output", attention._output_dense),
            ("intermediate", layer._feedforward_intermediate_dense),
            ("output", layer._feedforward_output_dense),
        ):
            variables |= {f"{number}/{part}/kernel": dense.kernel, f"{number}/{part}/bias": dense.bias}
        for part, norm in (
            ("attention_norm", layer._self_attention_layer_norm),
            ("output_norm", layer._feedforward_layer_norm),
        ):
            variables |= {f"{number}/{part}/gamma": norm.gamma, f"{number}/{part}/beta": norm.beta}
    return variables


def assign(model: tf.keras.Model, weights: Mapping[str, np.ndarray], source: str) -> None:
    """Assign weights to a model of the same shape, which may have fewer positions and segments.

    Raises:
      DataError: a weight has another shape.
    """
    for name, variable in bert_variables(model).items():
        value = weights[name]
        if name in ("position_embedding", "segment_embedding"):
            value = value[: variable.shape[0]]
        if value.shape != tuple(variable.shape):
            raise DataError(
                f"{source}: {name} is {value.shape} where {tuple(variable.shape)} is expected: its weights are not of its "
                f"{CONFIG_FILE} and vocabulary; fetch all of them anew from one place"
            )
        variable.assign(value.astype(np.float32))


# --- Hugging Face ------------------------------------------------------------------------------------------------------


def _hugging_face(name: str, folder: Folder) -> BertCheckpoint:
    config = read_json(folder / CONFIG_FILE)
    if config.get("model_type") != "bert":
        raise DataError(
            f"{folder}: model_type is {config.get('model_type')!r}; text.checkpoint takes bert: name such a folder, or "
            f"one of {', '.join(INSTALLED)}"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise DataError(
            f"{folder}: {config['position_embedding_type']} positions; text.checkpoint takes absolute ones; name another"
        )
    if config.get("hidden_act") not in _ACTIVATIONS:
        raise DataError(
            f"{folder}: hidden_act {config.get('hidden_act')!r}; there are {', '.join(_ACTIVATIONS)}: name another folder"
        )
    if config.get("layer_norm_eps", _LAYER_NORM) != _LAYER_NORM:
        raise DataError(
            f"{folder}: layer_norm_eps {config['layer_norm_eps']}; text.checkpoint takes {_LAYER_NORM}: name another folder"
        )
    tokenizer = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    lowercase = bool(tokenizer.get("do_lower_case", True))
    if tokenizer.get("strip_accents") not in (None, lowercase):
        raise DataError(
            f"{folder}: strip_accents differs from do_lower_case, which the tokenizer here does not know; name another"
        )
    try:
        shape: dict[str, Any] = {
            "num_layers": int(config["num_hidden_layers"]),
            "num_heads": int(config["num_attention_heads"]),
            "hidden_dim": int(config["hidden_size"]),
            "intermediate_dim": int(config["intermediate_size"]),
            "activation": _ACTIVATIONS[config["hidden_act"]],
            "lowercase": lowercase,
        }
        positions = int(config["max_position_embeddings"])
    except KeyError as error:
        raise DataError(f"{folder / CONFIG_FILE}: no {error}; text.checkpoint takes a BERT checkpoint") from error
    if shape["hidden_dim"] % shape["num_heads"]:
        raise DataError(
            f"{folder / CONFIG_FILE}: hidden_size {shape['hidden_dim']} is no multiple of its {shape['num_heads']} heads; "
            "fetch it anew"
        )
    return BertCheckpoint(
        name,
        shape,
        positions,
        _pooling(folder),
        vocabulary_of(folder),
        lambda: _hugging_face_weights(folder / WEIGHTS_FILE, shape["num_layers"], shape["num_heads"]),
    )


def _pooling(folder: Folder) -> str | None:
    """Return the pooling that sentence-transformers has noted in the folder, if any."""
    path = folder / "1_Pooling" / CONFIG_FILE
    if not path.is_file():
        return None
    config = read_json(path)
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise DataError(f"{path}: pools by {', '.join(modes) or 'nothing'}; text.pooling knows mean and cls alone")
    return known[modes[0]]


def _hugging_face_weights(path: Folder, num_layers: int, num_heads: int) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"{path}: not there; save the checkpoint with safe_serialization=True")
    try:
        if isinstance(path, Path):
            tensors = safetensors.numpy.load_file(path)
        else:
            tensors = safetensors.numpy.load(path.read_bytes())
    except (OSError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({error}); save it anew, as float32 or float16") from error
    # A model with a head on top has its BERT under this name.
    prefix = "bert." if any(key.startswith("bert.") for key in tensors) else ""

    def tensor(key: str, *others: str) -> np.ndarray:
        names = [prefix + name for name in (key, *others)]
        value = next((tensors[name] for name in names if name in tensors), None)
        if value is None:
            raise DataError(f"{path}: no tensor {prefix + key}; text.checkpoint takes a BERT checkpoint")
        return value

    def norm(target: str, key: str) -> dict[str, np.ndarray]:
        # TensorFlow's names, which old checkpoints have.
        return {
            f"{target}/gamma": tensor(f"{key}.weight", f"{key}.gamma"),
            f"{target}/beta": tensor(f"{key}.bias", f"{key}.beta"),
        }

    weights = {f"{part}_embedding": tensor(f"embeddings.{key}_embeddings.weight") for part, key in _EMBEDDINGS.items()}
    weights |= norm("embedding_norm", "embeddings.LayerNorm")
    for number in range(num_layers):
        source = f"encoder.layer.{number}"
        for part, key in _DENSE.items():
            # A torch layer keeps [out, in].
            kernel, bias = tensor(f"{source}.{key}.weight").T, tensor(f"{source}.{key}.bias")
            # Where they cannot be cut into heads, `assign` says what is wrong.
            cut = kernel.ndim == 2 and not any(size % num_heads for size in (*kernel.shape, len(bias)))
            if cut and part in ("query", "key", "value"):
                kernel, bias = kernel.reshape(len(kernel), num_heads, -1), bias.reshape(num_heads, -1)
            elif cut and part == "attention_output":
                kernel = kernel.reshape(num_heads, -1, len(bias))
            weights |= {f"{number}/{part}/kernel": kernel, f"{number}/{part}/bias": bias}
        weights |= norm(f"{number}/attention_norm", f"{source}.attention.output.LayerNorm")
        weights |= norm(f"{number}/output_norm", f"{source}.output.LayerNorm")
    return weights


_EMBEDDINGS = {"token": "word", "position": "position", "segment": "token_type"}
_DENSE = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}


# --- keras-nlp ---------------------------------------------------------------------------------------------------------


def _preset(name: str) -> BertCheckpoint:
    utils = keras_nlp.src.utils.preset_utils
    backbone = _fetched(name, lambda: keras_nlp.models.BertBackbone.from_preset(name, load_weights=False))
    tokenizer = _fetched(name, lambda: utils.load_config(name, utils.TOKENIZER_CONFIG_FILE))["config"]
    vocabulary = read_vocabulary(Path(_fetched(name, lambda: utils.get_file(name, _PRESET_VOCABULARY))))

    def weights() -> dict[str, np.ndarray]:
        trained = _fetched(name, lambda: keras_nlp.models.BertBackbone.from_preset(name))
        return {key: variable.numpy() for key, variable in bert_variables(trained).items()}

    shape = {
        "num_layers": backbone.num_layers,
        "num_heads": backbone.num_heads,
        "hidden_dim": backbone.hidden_dim,
        "intermediate_dim": backbone.intermediate_dim,
        "activation": "gelu_approximate",
        "lowercase": bool(tokenizer["lowercase"]),
    }
    return BertCheckpoint(name, shape, backbone.max_sequence_length, None, vocabulary, weights)


def _fetched(name: str, fetch: Callable[[], Any]) -> Any:
    try:
        return fetch()
    # What keras-nlp and the hubs below it raise has no common root: no network, no such preset, no permission.
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            f"text.checkpoint={name}: keras-nlp cannot load the preset ({reason}); check the name and the network, or "
            "name a folder with a BERT checkpoint"
        ) from error
