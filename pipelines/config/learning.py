"""What is learned and how it is measured: encoders before the towers, training, the hybrid score, evaluation, the search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.config.section import Section


class CooccurrenceConfig(Section):
    """The stage before the first epoch (`train.encoders` cooccurrence): encoders learn which items the same users take.

    `num_neighbours`: most frequent others of an item that are its target; `min_events`: items with fewer teach nothing.
    """

    epochs: int = Field(12, ge=0)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    num_neighbours: int = Field(100, ge=1)
    min_events: int = Field(5, ge=1)
    clip_norm: float = Field(1.0, gt=0)


class HybridConfig(Section):
    """The hybrid score: towers, neighbours, successors and popularity, with weights learned on the validation split.

    Neighbours are the weights of a linear item-item model with one of the `regularizations`, which the validation split
    chooses, as it does how many common users it is worth that two items are alike (`content_weights`); of more than
    `linear_items` items they are item-kNN's. `neighbours`: kept of each item; `recent`,
    `last_successors`: newest items of an ordered history that count, once more and for successors; `window`: events
    after an item in which something is its successor; `shrinkage`: added to the denominators of successors and of
    item-kNN. A new item borrows from known ones through a kernel ridge regression on its content with
    `content_regularization`, or from the `nearest` ones where that is too large; `new_links`: of each item to new ones. The
    weights are learned on at most `queries` requests and `candidates` items drawn at random. A sum over links x has the part asinh(x / softness) in the score,
    with the `softness` that validation chooses: nearly linear where it is large. `explore` is added to the
    score of every new item: the log of how many times likelier it is than the data say.
    """

    enabled: bool = True
    regularizations: tuple[float, ...] = Field((30.0, 100.0, 300.0, 1000.0), min_length=1)
    softness: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.003, 0.01, 0.03, 0.1, 0.3, 3.0), min_length=1)
    content_weights: tuple[Annotated[float, Field(ge=0)], ...] = Field((0.0, 30.0, 100.0, 300.0), min_length=1)
    linear_items: int = Field(6000, ge=0)
    neighbours: int = Field(200, ge=1)
    recent: int = Field(5, ge=1)
    last_successors: int = Field(20, ge=1)
    window: int = Field(10, ge=1)
    shrinkage: float = Field(50.0, ge=0)
    nearest: int = Field(3, ge=1)
    new_links: int = Field(200, ge=1)
    content_regularization: float = Field(1.0, gt=0)
    explore: float = 0.0
    queries: int = Field(2000, ge=1)
    candidates: int = Field(4096, ge=1)


class PretrainConfig(Section):
    """`triptych pretrain`: encoders learn from the catalogue alone, before any `triptych train`.

    `projection_dim`: of the space in which modalities meet; `temperature`: of their softmax at the start; `mask_rate`: of a
    text's tokens; `mask_loss_weight`: of the masked tokens beside the modalities; `held_out`: share of the items that measure
    and teach nothing; `patience`: epochs without a smaller loss on these before it stops; the best epoch is kept."""

    epochs: int = Field(30, ge=1)
    patience: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    projection_dim: int = Field(64, ge=8)
    temperature: float = Field(0.07, gt=0)
    mask_rate: float = Field(0.15, gt=0, lt=1)
    mask_loss_weight: float = Field(1.0, ge=0)
    held_out: float = Field(0.1, gt=0, lt=1)


class TrainConfig(Section):
    """`encoders`: cooccurrence = trained before the towers (section `cooccurrence`), then frozen and cached; finetune =
    in every step, on `fresh_items` items; lora = the same, of attention projections only a correction of rank
    `lora_rank`, scaled by `lora_alpha` over it; frozen = never.

    `pretrained`: the run folder of `triptych pretrain` whose encoders are the start.
    `warm_start`: the run folder of `triptych train` whose model is the start, on records that were appended to since; it
    then learns for `warm_start_epochs` in place of `epochs`, and its encoders have no stage of their own again.
    `encoder_scale`: the encoders' learning rate as a share of the towers'; `layer_decay`: and each layer's as a share of
    the one above it (Sun et al., 2019, arXiv:1905.05583).
    `patience`: epochs without a better validation NDCG before training stops and the best epoch is kept; not before
    `min_epochs`, because a model first learns what is popular and pauses there.
    `ema_momentum`: momentum of the moving average of the weights, 0 = none.
    `data_service`: host:port of a tf.data service that reads the training windows; null: this process.
    `validation_queries`: at most so many held-out requests are ranked after each epoch."""

    strategy: Literal["auto", "cpu", "mirrored", "multiworker", "tpu"] = "auto"
    encoders: Literal["cooccurrence", "finetune", "lora", "frozen"] = "cooccurrence"
    pretrained: str | None = None
    warm_start: str | None = None
    warm_start_epochs: int = Field(8, ge=1)
    fresh_items: int = Field(8, ge=1)
    batch_size: int = Field(16, ge=1)
    epochs: int = Field(30, ge=1)
    patience: int = Field(6, ge=1)
    min_epochs: int = Field(12, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    encoder_scale: float = Field(0.1, ge=0)
    layer_decay: float = Field(0.95, gt=0, le=1)
    lora_rank: int = Field(8, ge=1)
    lora_alpha: float = Field(16.0, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    ema_momentum: float = Field(0.95, ge=0, lt=1)
    jit_compile: bool = False
    data_service: str | None = None
    validation_queries: int = Field(2000, ge=1)
    encode_batch_size: int = Field(128, ge=1)

    @property
    def encodes_in_step(self) -> bool:
        """Whether encoders learn together with the towers."""
        return self.encoders in ("finetune", "lora")

    @property
    def planned_epochs(self) -> int:
        """At most so many are trained."""
        return self.epochs if self.warm_start is None else self.warm_start_epochs


class EvaluateConfig(Section):
    """`bins`: of the reliability diagram; `shrinkages`: of the bias baseline, and `rerank_weights`: of a label's logit
    beside the retrieval score, of which the validation split chooses. `patterns`: at most so many subsets of the
    modalities are tried, on at most `pattern_queries` requests; `groups`: most frequent categories whose modality
    weights are shown; `bm25`: saturation k1 and length b of that baseline of text search."""

    depth: int = Field(50, ge=50)
    batch: int = Field(512, ge=1)
    shrinkage: float = 10.0
    neighbours: int = 100
    last: int = 20
    bins: int = Field(15, ge=2)
    shrinkages: tuple[float, ...] = Field((1.0, 3.0, 10.0, 30.0), min_length=1)
    rerank_weights: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    patterns: int = Field(32, ge=1)
    pattern_queries: int = Field(1000, ge=1)
    groups: int = Field(12, ge=0)
    diversities: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    bm25: tuple[float, float] = (1.2, 0.75)


class TuneConfig(Section):
    """`triptych tune`. `trials`: how many, those of earlier calls included. `startup`: trials drawn at random, and never
    pruned, before the sampler and the pruner learn from them; `prune_after`: epochs of a trial before it may be pruned.

    `space`: option -> `choices`, or `low` and `high` (integers where both are) with `log` or `step`; the first trial is
    the configuration as it is, where that lies in the space."""

    trials: int = Field(30, ge=1)
    startup: int = Field(6, ge=1)
    prune_after: int = Field(4, ge=1)
    space: dict[str, dict[str, Any]] = Field(
        {
            "train.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
            "train.batch_size": {"choices": [8, 16, 32, 64]},
            "user.hidden_dim": {"choices": [32, 64, 128]},
            "user.num_layers": {"low": 1, "high": 3},
            "user.dropout": {"low": 0.0, "high": 0.5},
            "user.max_history": {"choices": [20, 50, 100]},
            "item.fusion": {"choices": ["attention", "concat", "gated", "transformer"]},
            "item.id_dropout": {"low": 0.0, "high": 0.8},
            "item.modality_dropout": {"low": 0.0, "high": 0.5},
            "retrieval.temperature": {"low": 0.5, "high": 4.0, "log": True},
            "retrieval.label_smoothing": {"low": 0.0, "high": 0.2},
            "ranking.weight": {"low": 0.01, "high": 1.0, "log": True},
        }
    )
