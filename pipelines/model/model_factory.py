"""From manifest and configuration to a model with all its variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from pydantic import BaseModel

from pipelines.config import Config
from pipelines.model.encoder_weights import zero_input
from tfrecs.errors import SpecError
from tfrecs.modalities import resolve, row
from tfrecs.schema import VOCABULARY_FILE, FeatureSchema, History, Schema
from towers.encoders.base import Encoder, TextQueryEncoder, build_encoder
from towers.encoders.checkpoint_folder import read_vocabulary
from towers.item import ItemTower
from towers.model import layers_of
from towers.ranking import RankingHead
from towers.semantic.codes import SemanticCodes
from towers.semantic.decoder import CodeDecoder
from towers.two_tower import ItemStatistics, TwoTower
from towers.user import UserTower


def records_vocabulary(records: Path) -> list[str]:
    """Read the WordPiece tokens of `<records>/vocab.txt`, [] where the data has no text. Raises DataError if it is broken."""
    path = records / VOCABULARY_FILE
    if not path.is_file():
        return []
    return read_vocabulary(path)


def resolve_config(config: Config, schema: Schema, average: bool | None = None) -> Config:
    """Fill in what the configuration leaves to the data: the shapes of pretrained checkpoints, and `user.average`.

    A run keeps what was filled in, so that it is opened as it was trained.

    Args:
      config: of the run.
      schema: of its records.
      average: `user.average` of the run that is gone on with or started from; None: there is none.

    Raises:
      DataError: there is no such checkpoint, or it does not go with another option.
    """
    sections: dict[str, Any] = {}
    for kind in {feature.kind for feature in (*schema.items, *schema.users)}:
        options = resolve(row(kind).encoder).resolve_options(config.encoder_options(kind))
        section = getattr(config, kind, options)
        sections[kind] = section.model_copy(update=options) if isinstance(section, BaseModel) else options
    if config.user.average is None:
        average = not schema.ordered if average is None else average
        sections["user"] = config.user.model_copy(update={"average": average})
    return config.model_copy(update=sections)


def make_encoders(
    features: Sequence[FeatureSchema], config: Config, vocabulary: Sequence[str], precision: str = "float32"
) -> dict[str, Encoder]:
    """Make the encoder of each feature: name -> encoder, in the schema's order, to compute in a precision (`layers_of`)."""
    encoders = {}
    with layers_of(precision):
        for feature in features:
            options: dict[str, Any] = config.encoder_options(feature.kind)
            encoders[feature.name] = build_encoder(feature, options, vocabulary)
    return encoders


def query_encoder(encoders: dict[str, Encoder]) -> TextQueryEncoder | None:
    """The encoder that text queries go through: the first that can take them."""
    return next((encoder for encoder in encoders.values() if isinstance(encoder, TextQueryEncoder)), None)


def choose_softmax(config: Config, items: int) -> str:
    """ "full" or "in_batch"."""
    if config.retrieval.softmax != "auto":
        return config.retrieval.softmax
    return "full" if items <= config.retrieval.full_limit else "in_batch"


def make_codes(
    config: Config, item_encoders: Mapping[str, Encoder], num_items: int
) -> tuple[SemanticCodes | None, dict[str, Any]]:
    """Make the codes of the catalogue where an option asks for them, and the item tower's options for them.

    Raises:
      SpecError: items have no content to take codes from.
    """
    item = config.item
    if item.semantic_ids == "none" and not config.generative.weight:
        return None, {}
    if not item_encoders:
        option = f"item.semantic_ids={item.semantic_ids}: items have no features that codes could be taken from; set it to none"
        if item.semantic_ids == "none":
            option = "generative.weight: items have no features that codes could be taken from; set it to 0"
        raise SpecError(option)
    sizes = {"num_levels": item.semantic_levels, "num_codes": item.semantic_codes}
    dims = [encoder.output_dim for encoder in item_encoders.values()]
    codes = SemanticCodes(num_items, **sizes, dims=dims)
    return codes, {} if item.semantic_ids == "none" else {"semantic_ids": item.semantic_ids, **sizes}


def make_model(
    config: Config,
    schema: Schema,
    item_encoders: dict[str, Encoder],
    user_encoders: dict[str, Encoder],
    presence: np.ndarray,
    train_counts: np.ndarray,
    first_times: np.ndarray,
    precision: str = "float32",
) -> TwoTower:
    """Make the model with every variable built, inside the strategy's scope.

    Args:
      config: every section of the model.
      schema: of the records.
      item_encoders: modality -> encoder.
      user_encoders: user feature -> encoder.
      presence: bool [N, M], the modalities that each item has.
      train_counts: int [N], positive training events of each item.
      first_times: int64 [N], time of the first of them.
      precision: that item and user tower compute in, see `layers_of`; heads and losses are in float32.
    """
    user, ranking, retrieval = config.user, config.ranking, config.retrieval
    items = ItemStatistics(presence, train_counts, first_times)
    codes, semantic = make_codes(config, item_encoders, len(train_counts))
    with layers_of(precision):
        item_tower = ItemTower(
            num_items=len(train_counts),
            num_modalities=len(schema.items),
            hidden_dim=user.hidden_dim,
            fusion=config.item.fusion,
            modality_dropout=config.item.modality_dropout,
            id_dropout=config.item.id_dropout,
            **semantic,
        )
        user_tower = UserTower(
            hidden_dim=user.hidden_dim,
            num_layers=user.num_layers,
            num_heads=user.num_heads,
            intermediate_dim=user.intermediate_dim,
            dropout=user.dropout,
            max_history=user.max_history,
            use_values=user.use_values,
            use_time_gaps=user.use_time_gaps,
            average=bool(user.average),
            block=user.block,
            context=[row.model_dump(mode="json") for row in schema.context],
        )
    ranking_head = None
    if schema.labels:
        ranking_head = RankingHead(
            labels=[row.model_dump(mode="json") for row in schema.labels],
            num_cross_layers=ranking.num_cross_layers,
            hidden_dim=ranking.hidden_dim,
            dropout=ranking.dropout,
        )
    decoder = None
    if codes is not None and config.generative.weight:
        decoder = CodeDecoder(codes.num_levels + 1, codes.num_codes, user.hidden_dim)
    model = TwoTower(
        schema,
        item_encoders,
        user_encoders,
        item_tower,
        user_tower,
        ranking_head,
        items,
        temperature=retrieval.temperature,
        label_smoothing=retrieval.label_smoothing,
        ranking_weight=ranking.weight,
        search_weight=retrieval.search_weight,
        query_rate=retrieval.query_rate,
        accumulate=config.train.accumulate,
        # A step over the whole catalogue needs all encodings anyway.
        stores_encodings=choose_softmax(config, len(train_counts)) == "full",
        codes=codes,
        decoder=decoder,
        generative_weight=config.generative.weight,
    )
    with layers_of(precision):  # layers make some of theirs late
        for encoder in item_encoders.values():
            if config.train.encoders == "lora":
                encoder.add_adapters(config.train.lora_rank, config.train.lora_alpha)
        _build_variables(model)
    if not config.train.encodes_in_step:  # the stage before the first epoch thaws them for itself
        for encoder in item_encoders.values():
            encoder.trainable = False
    return model


def _build_variables(model: TwoTower) -> None:
    """Call every layer once on a row of zeros, so that checkpoints restore at once instead of variable by variable."""
    encodings = model.encode_items({name: zero_input(encoder) for name, encoder in model.item_encoders.items()})
    codes = None if model.codes is None else model.codes.of_catalogue(tf.constant([0]))
    item_embeddings, _ = model.item_tower(model.standardize(encodings), model.presence[:1], model.id_index[:1], codes)
    user = model.encode_user(
        {name: zero_input(encoder) for name, encoder in model.user_encoders.items()},
        tf.ones([1, len(model.user_encoders)], tf.bool),
    )
    query = None
    if model.query_encoder is not None:
        text = model.encode_query(tf.zeros([1, model.query_encoder.query_tokens], tf.int32))
        query = tf.tile(text[:, None], [1, 2, 1])
    context = {
        row.name: tf.zeros([1, 2], tf.int32 if row.kind == "categories" else tf.float32)
        for row in model.schema.context
        if row.source == "column"
    }
    history = History(tf.zeros([1, 1], tf.int32), tf.zeros([1, 1]), tf.zeros([1, 1], tf.int64), tf.ones([1], tf.int32))
    embeddings = model.sequence_embeddings(item_embeddings, history, tf.zeros([1, 2], tf.int64), context, user, query)
    if model.ranking_head is not None:
        model.ranking_head(embeddings[:, 0], item_embeddings[:1])
    if model.decoder is not None and codes is not None:
        model.decoder(embeddings[:, 0], codes)
