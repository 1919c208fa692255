"""The model: encoders, item and user tower, ranking head, retrieval and search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class TextConfig(Section):
    """The text encoder, a keras-nlp Transformer.

    Attributes:
      backbone: the keras-nlp model.
      checkpoint: pretrained weights for the backbone bert: minilm (all-MiniLM-L6-v2 in an installed package), a folder
        with a Hugging Face BERT, or a keras-nlp preset; its shape, activation and lowercase then replace the options
        here. Build the records with the same option, because they hold its vocabulary.
      pooling: mean over the tokens, or the output at [CLS].
      num_layers: Transformer layers.
      num_heads: attention heads.
      hidden_dim: dimension of tokens and of the encoding.
      intermediate_dim: dimension of the feed-forward layers.
      dropout: dropout rate.
      max_tokens: tokens of an item's text; longer texts are cut.
      query_tokens: tokens of a text query.
      activation: of the feed-forward layers.
      lowercase: whether the vocabulary is uncased; accents are stripped too.
    """

    backbone: Literal["bert", "distil_bert"] = "bert"
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
    """The image encoder.

    Attributes:
      backbone: small, a residual convolutional network, or the name of a class in tf.keras.applications.
      weights: a weights file of a tf.keras.applications backbone without its top; null: random initial weights.
      filters: channels of each stage of the small backbone.
    """

    backbone: str = "small"
    weights: str | None = None
    filters: tuple[int, ...] = (32, 64, 128)


class AudioConfig(Section):
    """The audio encoder: a log-mel spectrogram and a residual convolutional network.

    Attributes:
      mels: mel bands.
      window: length of a frame in samples.
      hop: step between frames in samples.
      fmin: lower edge of the bands in Hz.
      fmax: upper edge of the bands in Hz.
      mask: largest share of bands, and of frames, that SpecAugment hides in training.
      filters: channels of each stage.
    """

    mels: int = Field(64, ge=8)
    window: int = Field(512, ge=64)
    hop: int = Field(256, ge=32)
    fmin: float = 60.0
    fmax: float = 7600.0
    mask: float = Field(0.15, ge=0, lt=1)
    filters: tuple[int, ...] = (32, 64, 128)


class VectorConfig(Section):
    """The encoder of precomputed vectors, a perceptron.

    Attributes:
      hidden_dim: dimension of the encoding.
      dropout: dropout rate.
    """

    hidden_dim: int = Field(128, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)


class CategoriesConfig(Section):
    """The encoder of categories: the sum of their embeddings over the square root of their number.

    Attributes:
      hidden_dim: dimension of the embeddings.
      dropout: share of an item's categories that is hidden in training.
    """

    hidden_dim: int = Field(64, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)


class NumberConfig(Section):
    """The encoder of numbers.

    Attributes:
      hidden_dim: dimension of the encoding.
    """

    hidden_dim: int = Field(16, ge=8)


class ItemConfig(Section):
    """The item tower.

    Attributes:
      fusion: how the encodings of the modalities become one vector.
      modality_dropout: probability that a modality of an item is hidden in a training step; never all of them.
      id_dropout: probability that the id embedding of an item is hidden in a training step.
      semantic_ids: codes of the content, by residual k-means over the encodings, whose embeddings items of like content
        share, new ones too: beside the id embeddings, or instead of them; none: no codes.
      semantic_levels: codes of an item, each refining the ones before.
      semantic_codes: codes of each level; fewer where the catalogue has fewer different contents.
    """

    fusion: Literal["attention", "concat", "gated", "transformer"] = "attention"
    modality_dropout: float = Field(0.3, ge=0, lt=1)
    id_dropout: float = Field(0.3, ge=0, lt=1)
    semantic_ids: Literal["none", "beside", "instead"] = "none"
    semantic_levels: int = Field(3, ge=1, le=8)
    semantic_codes: int = Field(64, ge=2, le=4096)


class UserConfig(Section):
    """The user tower, a causal Transformer or HSTU over the history.

    Attributes:
      block: transformer, or hstu: attention without a softmax and a gate in place of the feed-forward layers.
      hidden_dim: dimension D of query and item embeddings.
      num_layers: blocks.
      num_heads: attention heads.
      intermediate_dim: dimension of the feed-forward layers of a Transformer.
      dropout: dropout rate.
      max_history: newest events of a history that the user tower sees.
      stride: new targets in each training window of that length.
      use_values: whether event values are an input.
      use_time_gaps: whether the time between events is an input.
      average: whether the mean embedding of the history's items is added to what the blocks give; null: where events have
        no order, and in a run that goes on from another as in that one.
    """

    block: Literal["transformer", "hstu"] = "transformer"
    hidden_dim: int = Field(64, ge=8)
    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(2, ge=1)
    intermediate_dim: int = Field(128, ge=8)
    dropout: float = Field(0.2, ge=0, lt=1)
    max_history: int = Field(50, ge=1)
    stride: int = Field(25, ge=1)
    use_values: bool = True
    use_time_gaps: bool = True
    average: bool | None = None


class RankingConfig(Section):
    """The ranking head, DCN-v2.

    Attributes:
      weight: weight of its loss beside the retrieval loss.
      num_cross_layers: cross layers.
      hidden_dim: dimension of the deep layer.
      dropout: dropout rate.
    """

    weight: float = Field(0.1, ge=0)
    num_cross_layers: int = Field(2, ge=1)
    hidden_dim: int = Field(64, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class RetrievalConfig(Section):
    """The retrieval loss, and the training of text queries.

    Attributes:
      softmax: full over the whole catalogue, in_batch over the batch's items and `uniform_negatives` with logQ
        correction; auto: full up to `full_limit` items.
      full_limit: largest catalogue for which auto chooses full.
      uniform_negatives: items drawn from the whole catalogue for each step of the in-batch softmax.
      temperature: divides the inner product of query and item embeddings.
      label_smoothing: share of the target mass that is spread evenly over the candidates.
      search_weight: weight of the loss of text queries beside the retrieval loss.
      query_rate: share of positions that get a text query made from the target's text in training.
      queries_per_batch: typed queries that are encoded in a training step.
      own_query_rate: share of these that go to the user tower too.
    """

    softmax: Literal["auto", "full", "in_batch"] = "auto"
    full_limit: int = Field(5_000, ge=1)
    uniform_negatives: int = Field(256, ge=0)
    temperature: float = Field(2.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    search_weight: float = Field(0.1, ge=0)
    query_rate: float = Field(0.15, gt=0, lt=1)
    queries_per_batch: int = Field(32, ge=1)
    own_query_rate: float = Field(0.5, gt=0, le=1)


class GenerativeConfig(Section):
    """The generative head, which decodes the codes of items (`item.semantic_levels`, `item.semantic_codes`) from a query.

    Attributes:
      weight: weight of its loss beside the retrieval loss; 0: no head, and no signature `generate`.
      beam: prefixes of codes that are kept at each level of the search.
    """

    weight: float = Field(0.0, ge=0)
    beam: int = Field(100, ge=1)


class SearchConfig(Section):
    """Text queries: words, and meaning where the text encoder starts from a checkpoint.

    Attributes:
      buckets: hash buckets for each kind of term.
      prefix: letters of a prefix term.
      gram: letters of a term within a word.
      k1: saturation of BM25.
      b: length normalisation of BM25.
      prior: strength of the prior of a term's weight, in sentences.
      sharpness: power to which term weights are raised.
      queries: queries made from the catalogue that balance words and encoder.
      fitted_items: items whose texts the weights are fitted to; of a larger catalogue they are drawn at random.
      candidates: items that each of these is scored against.
      passages: sentences of an item that are compared with a query by a pretrained text encoder; of more, neighbours are
        joined. Of each, `text.max_tokens` are read. 0: text search without meaning.
      most_passages: passages of all items; more items than these are searched without meaning.
      meaning: the weight of meaning as a multiple of the one that finds sentences of the catalogue best, which repeat the
        words of their texts more than what people type does. 0: no weight.
      whitening: 0: cosines of the encoder itself; up to 0.5: what many sentences share counts less.
    """

    buckets: int = Field(131_072, ge=1024)
    prefix: int = Field(5, ge=2)
    gram: int = Field(4, ge=2)
    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)
    prior: float = Field(8.0, gt=0)
    sharpness: float = Field(1.5, gt=0)
    queries: int = Field(2000, ge=1)
    fitted_items: int = Field(20_000, ge=1)
    candidates: int = Field(4000, ge=1)
    passages: int = Field(32, ge=0)
    most_passages: int = Field(200_000, ge=1)
    meaning: float = Field(2.0, ge=0)
    whitening: float = Field(0.3, ge=0, le=0.5)
