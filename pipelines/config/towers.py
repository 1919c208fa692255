"""The model: encoders, item and user tower, ranking head, retrieval and search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class TextConfig(Section):
    """`checkpoint`: pretrained weights, a folder with a Hugging Face BERT or a keras-nlp preset; the layers, heads, widths,
    activation and lowercase of it then stand in place of these. Records must hold its vocabulary: build them with the
    same option. `pooling`: mean over the tokens, or the state of [CLS]."""

    checkpoint: str | None = None
    pooling: Literal["mean", "cls"] = "mean"
    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(4, ge=1)
    hidden_dim: int = Field(128, ge=8)
    intermediate_dim: int = Field(512, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    max_tokens: int = Field(64, ge=4)
    query_tokens: int = Field(24, ge=6)
    activation: Literal["gelu", "gelu_approximate"] = "gelu_approximate"
    lowercase: bool = True


class ImageConfig(Section):
    backbone: str = "small"
    weights: str | None = None
    filters: tuple[int, ...] = (32, 64, 128)


class AudioConfig(Section):
    mels: int = Field(64, ge=8)
    window: int = Field(512, ge=64)
    hop: int = Field(256, ge=32)
    fmin: float = 60.0
    fmax: float = 7600.0
    mask: float = Field(0.15, ge=0, lt=1)
    filters: tuple[int, ...] = (32, 64, 128)


class VectorConfig(Section):
    hidden_dim: int = Field(128, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)


class CategoriesConfig(Section):
    hidden_dim: int = Field(64, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)


class NumberConfig(Section):
    hidden_dim: int = Field(16, ge=8)


class ItemConfig(Section):
    """`id_dropout`: share of items whose id embedding is hidden in a step."""

    fusion: Literal["attention", "concat", "gated", "transformer"] = "attention"
    modality_dropout: float = Field(0.3, ge=0, lt=1)
    id_dropout: float = Field(0.3, ge=0, lt=1)


class UserConfig(Section):
    """`max_history`: events the Transformer sees; `stride`: new targets per training window of that length; `use_values`, `use_time_gaps`:
    whether it looks at event values, and at the time since each event."""

    hidden_dim: int = Field(64, ge=8)
    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(2, ge=1)
    intermediate_dim: int = Field(128, ge=8)
    dropout: float = Field(0.2, ge=0, lt=1)
    max_history: int = Field(50, ge=1)
    stride: int = Field(25, ge=1)
    use_values: bool = True
    use_time_gaps: bool = True


class RankingConfig(Section):
    weight: float = Field(0.1, ge=0)
    num_cross_layers: int = Field(2, ge=1)
    hidden_dim: int = Field(64, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class RetrievalConfig(Section):
    """`softmax` auto: full where the catalogue has at most `full_limit` items, else in_batch with logQ.

    `temperature` divides the inner product; `search_weight` weighs the text-query loss; `query_rate` is the share of
    positions that get a text query in training. Of events that have a query of their own, `queries_per_batch` are
    encoded in a step, and `own_query_rate` of these go to the user tower too."""

    softmax: Literal["auto", "full", "in_batch"] = "auto"
    full_limit: int = Field(20_000, ge=1)
    temperature: float = Field(2.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    search_weight: float = Field(0.1, ge=0)
    query_rate: float = Field(0.15, gt=0, lt=1)
    queries_per_batch: int = Field(32, ge=1)
    own_query_rate: float = Field(0.5, gt=0, le=1)


class SearchConfig(Section):
    """The lexical part of text queries. `buckets`: of the hash of each kind of term; `prefix`, `gram`: letters.

    `k1`, `b`: BM25's saturation and length; `prior`: sentences' worth of what is usual in a term's weight; `sharpness`: power
    of the weights. `queries` made from the catalogue, each against at most `candidates` items, balance the parts."""

    buckets: int = Field(131_072, ge=1024)
    prefix: int = Field(5, ge=2)
    gram: int = Field(4, ge=2)
    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)
    prior: float = Field(8.0, gt=0)
    sharpness: float = Field(1.5, gt=0)
    queries: int = Field(2000, ge=1)
    candidates: int = Field(4000, ge=1)
