"""What is learned and how it is measured: encoders before the towers, training, the hybrid score, evaluation, the search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.config.section import Section

_LINKS = 50_000_000  # entries of a table of links, of 8 bytes each
_FEWEST_LINKS = 20  # of an item, in any catalogue


class CooccurrenceConfig(Section):
    """The stage before the first epoch in which encoders learn which items the same users take (`train.encoders:
    cooccurrence`).

    Attributes:
      epochs: number of epochs; 0 skips the stage.
      max_steps: largest number of steps; fewer epochs, or part of one, where `epochs` would take more.
      batch_size: items in a step.
      learning_rate: largest learning rate.
      num_neighbours: items that co-occur most often with an item and are its targets.
      min_events: items with fewer training events are not trained on.
      clip_norm: largest norm of the gradient over all weights.
    """

    epochs: int = Field(12, ge=0)
    max_steps: int = Field(10_000, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    num_neighbours: int = Field(100, ge=1)
    min_events: int = Field(5, ge=1)
    clip_norm: float = Field(1.0, gt=0)


class HybridConfig(Section):
    """The hybrid score: towers, item-item model, successors and popularity, with weights learned on the validation split.

    Attributes:
      enabled: whether there is one; false: the towers alone.
      regularizations: candidates for the L2 regularisation of EASE and of the regressions; the validation split chooses.
      softness: candidates for s of asinh(x / s), through which a sum x enters the score: nearly linear where s is
        large; the validation split chooses.
      content_weights: candidates for how many common users a content similarity of 1 counts in EASE; the validation
        split chooses.
      linear_items: largest catalogue for EASE; in larger ones every item is regressed on its nearest neighbours alone.
      neighbours: links kept for each item, and neighbours that each is regressed on where there are too many for EASE. In
        very large catalogues fewer, so that a table of links takes at most 400 MB.
      recent: newest items of an ordered history whose links count once more.
      last_successors: newest items of an ordered history whose successors count.
      window: number of following events that are successors of an item.
      shrinkage: added to the denominators of successors, and of the similarity by which neighbours are nearest.
      walk_hops: from an item over its users to their items and on, in a random walk; 0: there is none.
      walk_content: weight of an item's edges to items with similar content, for each feature, beside 1 for a user.
      walk_neighbours: items with similar content that an item has edges to, for each feature.
      nearest: known items that a new item borrows from where the catalogue is too large for the regression.
      cold_links: links kept from each item to items without training events; in very large catalogues fewer, as of
        `neighbours`.
      content_regularization: of the kernel ridge regression from content.
      explore: added to the score of items without training events: the log of how many times likelier they are taken to
        be.
      simulated: share of the known items that are treated as new ones to learn how these are to be scored.
      queries: validation requests that the weights are learned on.
      candidates: items drawn at random for each of them.
    """

    enabled: bool = True
    regularizations: tuple[float, ...] = Field((30.0, 100.0, 300.0, 1000.0), min_length=1)
    softness: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.003, 0.01, 0.03, 0.1, 0.3, 3.0), min_length=1)
    content_weights: tuple[Annotated[float, Field(ge=0)], ...] = Field((0.0, 30.0, 100.0, 300.0), min_length=1)
    linear_items: int = Field(8000, ge=0)
    neighbours: int = Field(200, ge=1)
    recent: int = Field(5, ge=1)
    last_successors: int = Field(20, ge=1)
    window: int = Field(10, ge=1)
    shrinkage: float = Field(50.0, ge=0)
    walk_hops: int = Field(3, ge=0)
    walk_content: float = Field(0.1, ge=0)
    walk_neighbours: int = Field(10, ge=1)
    nearest: int = Field(3, ge=1)
    cold_links: int = Field(200, ge=1)
    content_regularization: float = Field(1.0, gt=0)
    explore: float = 0.0
    simulated: float = Field(0.1, gt=0, lt=1)
    queries: int = Field(2000, ge=1)
    candidates: int = Field(4096, ge=1)

    def kept_links(self, num_items: int) -> int:
        """Return how many links of each item are kept: `neighbours`, in a very large catalogue fewer.

        A table of links, of which there are three, takes at most 400 MB up to 2.5 million items; those that lead to
        new items as much again.
        """
        return min(self.neighbours, _most_links(num_items))

    def kept_cold_links(self, num_items: int) -> int:
        """Return how many links of each item to new ones are kept: `cold_links`, in a very large catalogue fewer."""
        return min(self.cold_links, _most_links(num_items))


def _most_links(num_items: int) -> int:
    return max(_FEWEST_LINKS, _LINKS // max(num_items, 1))


class PretrainConfig(Section):
    """`triptych pretrain`: encoders learn from the catalogue alone. The best epoch is kept.

    Attributes:
      epochs: largest number of epochs.
      patience: epochs without a smaller loss on held-out items before it stops.
      batch_size: items in a step.
      learning_rate: largest learning rate of AdamW, after the warm-up.
      warmup: share of the steps in which the learning rate rises.
      weight_decay: of AdamW.
      clip_norm: largest norm of the gradient over all weights.
      projection_dim: dimension of the space in which modalities meet.
      temperature: initial temperature of the contrastive loss.
      mask_rate: share of a text's tokens that are masked.
      mask_loss_weight: weight of the masked-token loss beside the contrastive loss.
      held_out: share of the items that are measured on and not trained on.
    """

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
    """`triptych train`.

    Attributes:
      strategy: devices, see `--strategy`.
      encoders: cooccurrence: trained before the towers (section `cooccurrence`), then frozen and cached, those with
        a checkpoint (`text.checkpoint`, `image.weights`) left as they are; finetune: in every step, on `fresh_items` items; lora: as finetune, but of
        attention projections only low-rank adapters; frozen: not at all.
      pretrained: run folder of `triptych pretrain` whose encoders are the start.
      warm_start: run folder of `triptych train` whose model is the start, on records that were appended to since
        (`--continue`); encoders then have no stage of their own.
      warm_start_epochs: largest number of epochs after a warm start, in place of `epochs`.
      fresh_items: items of a batch that are encoded with gradients in each step.
      batch_size: rows in a step, each of `user.max_history` events; short histories share one.
      shuffle_rows: rows among which the next one is drawn; as many are held in memory.
      epochs: largest number of epochs.
      patience: epochs without a better validation NDCG before training stops; the best epoch is kept.
      min_epochs: no stop before this epoch: a model learns what is popular first, and pauses there.
      learning_rate: largest learning rate of AdamW, after the warm-up.
      encoder_scale: learning rate of the encoders as a share of the towers'.
      layer_decay: learning rate of each encoder layer as a share of the one above it (Sun et al., 2019,
        arXiv:1905.05583).
      lora_rank: rank of the adapters.
      lora_alpha: the adapters' output is scaled by this over the rank.
      warmup: share of the steps in which the learning rate rises.
      weight_decay: of AdamW.
      clip_norm: largest norm of the gradient over all weights.
      ema_momentum: momentum of the moving average of the weights; 0: none.
      jit_compile: whether the step is compiled by XLA.
      steps_per_call: steps that one call of the graph takes, which saves what Python does between two; progress and a stop
        from the keyboard come between calls.
      precision: in which layers of encoders and towers compute while they are trained: bfloat16 wants hardware for it,
        float16 has a loss scale. Weights, normalisation, softmaxes, losses and what is exported are float32 always.
      accumulate: parts in which the rows of a step go through user tower and softmax, one after the other, with one
        update in the end; candidates and encoded items are those of the whole step, so only dropout draws other numbers.
      rematerialise: encoders compute their activations a second time for their gradients rather than keep them.
      data_service: host:port of a tf.data service that reads the training windows; null: this process.
      worker_timeout: seconds that a worker of a cluster waits for the others before training starts.
      validation_queries: largest number of held-out requests that are ranked after each epoch.
      encode_batch_size: items that are encoded at a time when the cache is filled.
      items_in_memory: megabytes of decoded and preprocessed items up to which the catalogue is held in memory; of a
        larger one the items of a step are read from the records.
      encodings_folder: folder for the encodings of a catalogue that is trained with the in-batch softmax, a file of two
        bytes a number; null: the run folder.
    """

    strategy: Literal["auto", "cpu", "mirrored", "multiworker", "tpu"] = "auto"
    encoders: Literal["cooccurrence", "finetune", "lora", "frozen"] = "cooccurrence"
    pretrained: str | None = None
    warm_start: str | None = None
    warm_start_epochs: int = Field(8, ge=1)
    fresh_items: int = Field(8, ge=1)
    batch_size: int = Field(16, ge=1)
    shuffle_rows: int = Field(65_536, ge=1)
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
    steps_per_call: int = Field(8, ge=1)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    accumulate: int = Field(1, ge=1)
    rematerialise: bool = False
    data_service: str | None = None
    worker_timeout: float = Field(600.0, gt=0)
    validation_queries: int = Field(2000, ge=1)
    encode_batch_size: int = Field(128, ge=1)
    items_in_memory: float = Field(512.0, ge=0)
    encodings_folder: str | None = None

    @property
    def encodes_in_step(self) -> bool:
        """Whether encoders learn together with the towers."""
        return self.encoders in ("finetune", "lora")

    @property
    def planned_epochs(self) -> int:
        """At most so many are trained."""
        return self.epochs if self.warm_start is None else self.warm_start_epochs


class EvaluateConfig(Section):
    """`triptych evaluate`.

    Attributes:
      max_requests: largest number of test requests that are ranked; of more, a sample that is the same for every system
        and slice.
      slice_requests: of a sample, requests for items or of users without training events are filled up to so many for
        the slices `cold_items` and `cold_users`, as far as there are some.
      section_requests: largest number of requests that are ranked again for a part of the report: without a modality, by
        the towers alone, by their text; a part of the same sample.
      scores_in_memory: scores held at a time: so many requests times items are scored together.
      depth: length of the ranked lists.
      batch: largest number of requests scored at a time.
      shrinkage: of item-kNN.
      neighbours: neighbours of an item in item-kNN.
      last: newest events that the second item-kNN looks at.
      bins: of the reliability diagram.
      shrinkages: candidates for the shrinkage of the bias baseline; the validation split chooses.
      rerank_weights: candidates for the weight of a label's logit beside the retrieval score; the validation split
        chooses.
      patterns: largest number of subsets of the modalities that are ranked with.
      pattern_queries: largest number of requests for these.
      pattern_items: items that are embedded again for these, all subsets together; in a large catalogue only so many
        subsets are ranked with, but everything, nothing, each modality alone and each left out in any case.
      groups: most frequent categories whose modality weights are shown.
      diversities: values of `diversity` on the accuracy-diversity curve.
      bm25: saturation k1 and length normalisation b of the BM25 baseline.
    """

    max_requests: int = Field(20_000, ge=1)
    slice_requests: int = Field(1000, ge=0)
    section_requests: int = Field(10_000, ge=1)
    scores_in_memory: int = Field(1 << 23, ge=1)
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
    pattern_items: int = Field(1_000_000, ge=1)
    groups: int = Field(12, ge=0)
    diversities: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    bm25: tuple[float, float] = (1.2, 0.75)


class TuneConfig(Section):
    """`triptych tune`.

    Attributes:
      trials: number of trials, those of earlier calls included.
      startup: trials drawn at random, and never pruned, before sampler and pruner learn from them.
      prune_after: epochs of a trial before it may be pruned.
      space: option -> `choices`, or `low` and `high` (integers where both are) with `log` or `step`; the first trial is
        the configuration as it is where that lies in the space.
    """

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
