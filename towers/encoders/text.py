"""Text: an in-graph tokenizer and a Transformer of keras-nlp."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

with contextlib.redirect_stdout(io.StringIO()):  # a dependency prints the backend's name at import
    import keras_nlp

from tfrecs.errors import DataError
from towers.encoders.base import TextQueryEncoder
from towers.encoders.bert_checkpoint import assign, open_checkpoint
from towers.encoders.lora import LowRankDense
from towers.encoders.text_backbones import BACKBONES, transformer_layers

# tf-keras lists a backbone's attributes when it saves a checkpoint, and warns of two that it itself deprecates.
warnings.filterwarnings("ignore", r"`(Model\.state_updates|layer\.updates)` will be removed", UserWarning)

_ACTIVATIONS = {
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_approximate": lambda x: tf.nn.gelu(x, approximate=True),
}


def normalised(strings: tf.Tensor, lowercase: bool) -> tf.Tensor:
    """Clean text as BERT's `BasicTokenizer` (google-research/bert, tokenization.py) does before it splits words.

    Lower case as in Unicode, white space as blanks, no control characters. keras-nlp's tokenizer folds case instead, which
    turns German sharp s into "ss", keeps no-break spaces inside words and splits words at soft hyphens.

    Args:
      strings: string [...].
      lowercase: whether the vocabulary is uncased.
    """
    if lowercase:
        strings = tf.strings.lower(strings, encoding="utf-8")
    strings = tf.strings.regex_replace(strings, r"[\t\n\r\p{Z}]", " ")
    return tf.strings.regex_replace(strings, r"[\p{Cc}\p{Cf}\p{Co}\x{FFFD}]", "")


def train_vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Train a WordPiece vocabulary with keras-nlp's `compute_word_piece_vocabulary`.

    Args:
      texts: the catalogue's texts.
      size: upper bound of the number of tokens, special tokens included.

    Raises:
      DataError: there is no text at all.
    """
    used = (text for text in texts if text.strip())
    batches = iter(lambda: list(itertools.islice(used, 1024)), [])
    first = next(batches, None)
    if first is None:
        raise DataError("no item has text to train a vocabulary on; drop the text feature from dataset.yaml")
    # From a generator, so that whoever gives the texts sees how far they are read.
    dataset = tf.data.Dataset.from_generator(
        lambda: itertools.chain([first], batches), output_signature=tf.TensorSpec([None], tf.string)
    ).map(lambda batch: normalised(batch, True))
    return keras_nlp.tokenizers.compute_word_piece_vocabulary(
        dataset, vocabulary_size=size, lowercase=False, strip_accents=True
    )


class TextEncoder(TextQueryEncoder):
    """A Transformer encoder of keras-nlp, trained from scratch or started from a checkpoint.

    `preprocess`: strings [B] -> token_ids int32 [B, max_tokens], start and end token and padding; the padding mask is
    `token_ids != 0`. `call`: token_ids int32 [B, T] -> float [B, hidden_dim]; padding more changes nothing.

    Args:
      schema: the feature's row in the manifest.
      vocabulary: lines of the records' vocabulary file, which only the backbone interprets; `[PAD]` is the first.
      backbone: a row of `towers.encoders.text_backbones.BACKBONES`.
      num_layers, num_heads, hidden_dim, intermediate_dim, dropout: the Transformer's shape, named as by keras-nlp.
      max_tokens: T of an item's text; longer text is cut.
      query_tokens: T of a query.
      pooling: "mean" over all tokens, start and end token too (Reimers and Gurevych, 2019, arXiv:1908.10084), or "cls",
        the contextual embedding of the first token.
      activation: of the feed-forward layers: "gelu" (exact) or "gelu_approximate" (by tanh).
      lowercase: whether the vocabulary is uncased; then accents are stripped too.
      checkpoint: whose weights `load_pretrained` reads (see `towers.encoders.bert_checkpoint.open_checkpoint`), for
        "bert" only; None: random initial weights.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        vocabulary: Sequence[str],
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float,
        max_tokens: int,
        query_tokens: int,
        pooling: str,
        activation: str,
        lowercase: bool,
        checkpoint: str | None,
        backbone: str = "bert",
        **kwargs: Any,
    ):
        super().__init__(schema, **kwargs)
        self.vocabulary = list(vocabulary)
        shape = {
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
            "dropout": dropout,
        }
        self.options: dict[str, Any] = {
            **shape,
            "max_tokens": max_tokens,
            "query_tokens": query_tokens,
            "pooling": pooling,
            "activation": activation,
            "lowercase": lowercase,
            "checkpoint": checkpoint,
            "backbone": backbone,
        }
        self.max_tokens = max_tokens
        self.query_tokens = query_tokens
        self.lowercase = lowercase
        self.tokenizer = BACKBONES[backbone].tokenizer(self.vocabulary, lowercase)
        self.backbone = BACKBONES[backbone].model(
            vocabulary_size=len(self.vocabulary), max_sequence_length=max(max_tokens, query_tokens), **shape
        )
        for layer in transformer_layers(self.backbone):  # keras-nlp's models offer one activation each.
            layer._feedforward_intermediate_dense.activation = _ACTIVATIONS[activation]
            attention = layer._self_attention_layer  # its softmax is in float32 in every precision
            attention._softmax = tf.keras.layers.Softmax(axis=attention._softmax.axis, dtype="float32")

    @property
    def is_pretrained(self) -> bool:
        return self.options["checkpoint"] is not None

    @property
    def output_dim(self) -> int:
        return int(self.options["hidden_dim"])

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.max_tokens], tf.int32)

    @functools.cached_property
    def _token_ids(self) -> Mapping[int, Callable[[tf.Tensor], tf.Tensor]]:
        """By the number of tokens, the function of strings [B] that makes token ids int32 [B, tokens].

        Each is traced once, not anew in each signature of an export and each step of an input pipeline.
        """

        def tokenize(length: int, strings: tf.Tensor) -> tf.Tensor:
            # "waterfall": the default round-robin trimmer is an op that stock TensorFlow Serving lacks.
            packer = keras_nlp.layers.MultiSegmentPacker(
                sequence_length=length,
                start_value=self.tokenizer.cls_token_id,
                end_value=self.tokenizer.sep_token_id,
                pad_value=self.tokenizer.pad_token_id,
                truncate="waterfall",
            )
            token_ids, _ = packer((self.tokenizer(normalised(strings, self.lowercase)),))
            return tf.ensure_shape(tf.cast(token_ids, tf.int32), [None, length])

        signature = [tf.TensorSpec([None], tf.string)]
        return {
            length: tf.function(functools.partial(tokenize, length), input_signature=signature, autograph=False)
            for length in (self.max_tokens, self.query_tokens)
        }

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        return self._token_ids[self.max_tokens](values)

    def preprocess_query(self, values: tf.Tensor) -> tf.Tensor:
        return self._token_ids[self.query_tokens](values)

    def spans(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draw 3 to Tq - 2 consecutive tokens of each text, between start and end token."""
        longest = self.query_tokens - 2
        batch = tf.shape(inputs)[0]
        available = tf.maximum(tf.reduce_sum(tf.cast(inputs != 0, tf.int32), axis=1) - 2, 0)
        shortest = tf.minimum(3, available)
        uniform = tf.random.stateless_uniform([2, batch], seed)
        room = tf.cast(tf.minimum(longest, available) - shortest + 1, tf.float32)
        length = shortest + tf.cast(uniform[0] * room, tf.int32)
        start = 1 + tf.cast(uniform[1] * tf.cast(available - length + 1, tf.float32), tf.int32)
        offsets = tf.range(longest)
        body = tf.gather(inputs, tf.minimum(start[:, None] + offsets, self.max_tokens - 1), batch_dims=1)
        inside = offsets < length[:, None]
        sep = tf.where(offsets == length[:, None], self.tokenizer.sep_token_id, 0)
        body = tf.where(inside, body, sep)
        last = tf.where(length == longest, self.tokenizer.sep_token_id, 0)[:, None]
        return tf.concat([tf.fill([batch, 1], self.tokenizer.cls_token_id), body, last], axis=1)

    def states(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        adapter = BACKBONES[self.options["backbone"]]
        return self.backbone(adapter.inputs(inputs, inputs != 0), training=training)

    def pool(self, states: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        states = tf.cast(states, tf.float32)
        if self.options["pooling"] == "cls":
            return states[:, 0]
        weight = tf.cast(inputs != 0, states.dtype)[:, :, None]
        return tf.reduce_sum(states * weight, axis=1) / tf.maximum(tf.reduce_sum(weight, axis=1), 1.0)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.pool(self.states(inputs, training=training), inputs)

    def masker(self, share: float) -> tf.keras.layers.Layer:
        tokens = self.tokenizer
        return keras_nlp.layers.MaskedLMMaskGenerator(
            vocabulary_size=len(self.vocabulary),
            mask_selection_rate=share,
            mask_token_id=tokens.mask_token_id,
            mask_selection_length=max(1, int(share * self.max_tokens + 0.999)),
            unselectable_token_ids=[tokens.pad_token_id, tokens.cls_token_id, tokens.sep_token_id],
        )

    @property
    def token_embedding(self) -> tf.keras.layers.Layer:
        return BACKBONES[self.options["backbone"]].token_embedding(self.backbone)

    @classmethod
    def resolve_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Take the shape of the checkpoint, where one is named.

        Raises:
          DataError: there is no such checkpoint, or `backbone`, `max_tokens` or `pooling` does not go with it.
        """
        if options["checkpoint"] is None:
            return dict(options)
        if options["backbone"] != "bert":
            raise DataError(
                f"text.checkpoint={options['checkpoint']}: checkpoints are of BERT; --set text.backbone=bert, or leave "
                "text.checkpoint away"
            )
        checkpoint = open_checkpoint(options["checkpoint"])
        longest = max(options["max_tokens"], options["query_tokens"])
        if longest > checkpoint.positions:
            raise DataError(
                f"text.max_tokens={longest}: {checkpoint.name} has {checkpoint.positions} positions; --set it to at most that"
            )
        if checkpoint.pooling not in (None, options["pooling"]):
            raise DataError(f"{checkpoint.name}: made for another pooling; --set text.pooling={checkpoint.pooling}")
        return {**options, **checkpoint.shape}

    def load_pretrained(self) -> None:
        """Load the checkpoint's weights. Raises DataError where its vocabulary is not this encoder's."""
        if self.options["checkpoint"] is None:
            return
        checkpoint = open_checkpoint(self.options["checkpoint"])
        if checkpoint.vocabulary != self.vocabulary:
            raise DataError(
                f"text.checkpoint={checkpoint.name}: the records' vocab.txt is not that of the checkpoint; build the "
                f"records with --set text.checkpoint={checkpoint.name}"
            )
        assign(self.backbone, checkpoint.weights(), checkpoint.name)

    def depths(self) -> list[list[tf.Variable]]:
        layers = [layer.variables for layer in transformer_layers(self.backbone)]
        inner = {id(variable) for variables in layers for variable in variables}
        return [[variable for variable in self.backbone.variables if id(variable) not in inner], *layers]

    def rematerialised(self) -> list[tf.keras.layers.Layer]:
        return transformer_layers(self.backbone)

    def add_adapters(self, rank: int, alpha: float) -> None:
        """Add adapters to the query and value projections of every attention, as Hu et al. (2021) do."""
        transformers = transformer_layers(self.backbone)
        for layer in self.backbone.layers:
            layer.trainable = layer in transformers  # what is frozen in these follows
        for layer in transformers:
            attention = layer._self_attention_layer
            attention._query_dense = LowRankDense(attention._query_dense, rank, alpha)
            attention._value_dense = LowRankDense(attention._value_dense, rank, alpha)
            for frozen in (
                attention._key_dense,
                attention._output_dense,
                layer._self_attention_layer_norm,
                layer._feedforward_intermediate_dense,
                layer._feedforward_output_dense,
                layer._feedforward_layer_norm,
            ):
                frozen.trainable = False

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vocabulary": self.vocabulary, **self.options}
