"""Configuration: every default of Triptych stands here and nowhere else.

A configuration is read from a YAML file (`--config`), changed by `--set section.key=value`, validated once, and
frozen. Encoder sections carry the name of their kind in the table of modalities.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tfrecs.errors import SpecError
from tfrecs.modalities import KINDS


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildConfig(Section):
    """`triptych build`. `kinds`: options of a feature kind where `dataset.yaml` says nothing else.

    `workers` encode at a time: threads, or processes from `processes_from` items on (a process takes seconds to start;
    threads decode pictures side by side, but sounds one after the other).
    """

    max_bad: float = Field(0.01, ge=0, le=1)
    window: int = Field(512, ge=2)
    overlap: int = Field(64, ge=0)
    items_per_shard: int = Field(4096, ge=1)
    examples_per_shard: int = Field(8192, ge=1)
    workers: int = Field(2, ge=1)
    processes_from: int = Field(20_000, ge=0)
    vocabulary_size: int = Field(6000, ge=100)
    kinds: dict[str, dict[str, Any]] = {
        "image": {"size": 64},
        "audio": {"seconds": 2.0, "rate": 16000},
        "categories": {"max_values": 64, "max_vocabulary": 2000},
    }


class TextConfig(Section):
    """`checkpoint`: pretrained weights, a folder with a Hugging Face BERT or a keras-nlp preset; the layers, heads, widths,
    activation and lowercase of it then stand in place of these. Records must hold its vocabulary: build them with the
    same option. `pooling`: mean over the tokens, or the state of [CLS]."""

    checkpoint: str | None = None
    pooling: Literal["mean", "cls"] = "mean"
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    width: int = Field(128, ge=8)
    feed_forward: int = Field(512, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    max_tokens: int = Field(64, ge=4)
    query_tokens: int = Field(24, ge=6)
    activation: Literal["gelu", "gelu_approximate"] = "gelu_approximate"
    lowercase: bool = True


class ImageConfig(Section):
    backbone: str = "small"
    weights: str | None = None
    widths: tuple[int, ...] = (32, 64, 128)


class AudioConfig(Section):
    mels: int = Field(64, ge=8)
    window: int = Field(512, ge=64)
    hop: int = Field(256, ge=32)
    fmin: float = 60.0
    fmax: float = 7600.0
    mask: float = Field(0.15, ge=0, lt=1)
    widths: tuple[int, ...] = (32, 64, 128)


class VectorConfig(Section):
    width: int = Field(128, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)


class CategoriesConfig(Section):
    width: int = Field(64, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)


class NumberConfig(Section):
    width: int = Field(16, ge=8)


class ItemConfig(Section):
    """`id_dropout`: share of items whose id embedding is hidden in a step."""

    fusion: Literal["attention", "concat", "gated", "transformer"] = "attention"
    modality_dropout: float = Field(0.1, ge=0, lt=1)
    id_dropout: float = Field(0.3, ge=0, lt=1)


class UserConfig(Section):
    """`history`: events the Transformer sees; `stride`: new targets per training window of that length."""

    width: int = Field(64, ge=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    feed_forward: int = Field(128, ge=8)
    dropout: float = Field(0.2, ge=0, lt=1)
    history: int = Field(50, ge=1)
    stride: int = Field(25, ge=1)


class RankingConfig(Section):
    weight: float = Field(0.1, ge=0)
    cross_layers: int = Field(2, ge=1)
    hidden: int = Field(64, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class RetrievalConfig(Section):
    """`softmax` auto: full where the catalogue has at most `full_limit` items, else in_batch with logQ.

    `temperature` divides the inner product; `search_weight` weighs the text-query loss; `query_share` is the share of
    positions that get a text query in training."""

    softmax: Literal["auto", "full", "in_batch"] = "auto"
    full_limit: int = Field(20_000, ge=1)
    temperature: float = Field(2.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    search_weight: float = Field(0.1, ge=0)
    query_share: float = Field(0.15, gt=0, lt=1)


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


class CooccurrenceConfig(Section):
    """The stage before the first epoch (`train.encoders` cooccurrence): encoders learn which items the same users take.

    `neighbours`: most frequent others of an item that are its target; `least_events`: items with fewer teach nothing.
    """

    epochs: int = Field(12, ge=0)
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    neighbours: int = Field(100, ge=1)
    least_events: int = Field(5, ge=1)
    clip_norm: float = Field(1.0, gt=0)


class HybridConfig(Section):
    """The hybrid score: towers, neighbours, successors and popularity, with weights learned on the validation split.

    Neighbours are the weights of a linear item-item model with one of the `regularizations`, which the validation split
    chooses; of more than `linear_items` items they are item-kNN's. `neighbours`: kept of each item; `recent`,
    `last_successors`: newest items of an ordered history that count, once more and for successors; `window`: events
    after an item in which something is its successor; `shrinkage`: added to the denominators of successors and of
    item-kNN; `nearest`: known items that a new one borrows from. The weights are learned on at most `queries` requests and
    `candidates` items drawn at random; new items have weights of their own where at least `least_new` requests ask for one.
    """

    enabled: bool = True
    regularizations: tuple[float, ...] = Field((30.0, 100.0, 300.0, 1000.0), min_length=1)
    linear_items: int = Field(6000, ge=0)
    neighbours: int = Field(200, ge=1)
    recent: int = Field(5, ge=1)
    last_successors: int = Field(20, ge=1)
    window: int = Field(10, ge=1)
    shrinkage: float = Field(50.0, ge=0)
    nearest: int = Field(3, ge=1)
    least_new: int = Field(20, ge=1)
    queries: int = Field(2000, ge=1)
    candidates: int = Field(4096, ge=1)


class PretrainConfig(Section):
    """`triptych pretrain`: encoders learn from the catalogue alone, before any `triptych train`.

    `width`: of the space in which modalities meet; `temperature`: of their softmax at the start; `mask_share`: of a
    text's tokens; `mask_weight`: of the masked tokens beside the modalities; `held_out`: share of the items that measure
    and teach nothing; `patience`: epochs without a smaller loss on these before it stops; the best epoch is kept."""

    epochs: int = Field(30, ge=1)
    patience: int = Field(5, ge=1)
    batch: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    width: int = Field(64, ge=8)
    temperature: float = Field(0.07, gt=0)
    mask_share: float = Field(0.15, gt=0, lt=1)
    mask_weight: float = Field(1.0, ge=0)
    held_out: float = Field(0.1, gt=0, lt=1)


class TrainConfig(Section):
    """`encoders`: cooccurrence = trained before the towers (section `cooccurrence`), then frozen and cached; finetune =
    in every step, on `fresh_items` items; lora = the same, of attention projections only a correction of rank
    `lora_rank`, scaled by `lora_alpha` over it; frozen = never.

    `pretrained`: the run folder of `triptych pretrain` whose encoders are the start.
    `encoder_scale`: the encoders' learning rate as a share of the towers'; `layer_decay`: and each layer's as a share of
    the one above it (Sun et al., 2019, arXiv:1905.05583).
    `patience`: epochs without a better validation NDCG before training stops and the best epoch is kept; not before
    `least_epochs`, because a model first learns what is popular and pauses there.
    `averaging`: momentum of the moving average of the weights, 0 = none.
    `data_service`: host:port of a tf.data service that reads the training windows; null: this process.
    `validation_queries`: at most so many held-out requests are ranked after each epoch."""

    strategy: Literal["auto", "cpu", "mirrored", "multiworker", "tpu"] = "auto"
    encoders: Literal["cooccurrence", "finetune", "lora", "frozen"] = "cooccurrence"
    pretrained: str | None = None
    fresh_items: int = Field(8, ge=1)
    batch: int = Field(16, ge=1)
    epochs: int = Field(30, ge=1)
    patience: int = Field(6, ge=1)
    least_epochs: int = Field(12, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    encoder_scale: float = Field(0.1, ge=0)
    layer_decay: float = Field(0.95, gt=0, le=1)
    lora_rank: int = Field(8, ge=1)
    lora_alpha: float = Field(16.0, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    averaging: float = Field(0.95, ge=0, lt=1)
    jit: bool = False
    data_service: str | None = None
    validation_queries: int = Field(2000, ge=1)
    encode_batch: int = Field(128, ge=1)

    @property
    def encodes_in_step(self) -> bool:
        """Whether encoders learn together with the towers."""
        return self.encoders in ("finetune", "lora")


class EvaluateConfig(Section):
    """`bins`: of the reliability diagram; `shrinkages`: of the bias baseline, and `rerank_weights`: of a label's logit
    beside the retrieval score, of which the validation split chooses. `patterns`: at most so many subsets of the
    modalities are tried, on at most `pattern_queries` requests; `groups`: most frequent categories whose modality
    weights are shown."""

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


class ExportConfig(Section):
    """`pool`: candidates that diversity chooses among, as a multiple of k; `max_k`: the largest k that is answered.

    `parity_requests`: held-out requests whose served answers must be Python's; each is also timed alone.
    `max_removed`: share of the served items above which an update that would drop them is refused."""

    pool: int = Field(5, ge=1)
    max_k: int = Field(10_000, ge=1)
    parity_requests: int = Field(200, ge=1)
    warmup_requests: int = Field(8, ge=0)
    max_removed: float = Field(0.5, ge=0, le=1)


class BatchingConfig(Section):
    """Request batching of `triptych serve`, off unless `enabled`; names and values are TensorFlow Serving's.

    `num_batch_threads`: null is one for each processor. `max_execution_batch_size`: null is `max_batch_size`.
    """

    enabled: bool = False
    max_batch_size: int = Field(1000, ge=1)
    batch_timeout_micros: int = Field(0, ge=0)
    max_enqueued_batches: int = Field(10, ge=1)
    num_batch_threads: int | None = Field(None, ge=1)
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = Field(None, ge=1)


class LimitsConfig(Section):
    """What the embedded server takes in one request; null: any. `max_rows`: the batch; `max_length`: events of a
    history, exclusions, candidates; `max_k`: besides `export.max_k`, which the model holds; `max_results`: k times
    rows; `max_string_bytes`: of an id, a category, a query."""

    max_rows: int | None = Field(1024, ge=1)
    max_length: int | None = Field(10_000, ge=1)
    max_k: int | None = Field(None, ge=1)
    max_results: int | None = Field(1_000_000, ge=1)
    max_string_bytes: int | None = Field(65_536, ge=1)


class ServeConfig(Section):
    """`triptych serve` and `triptych query`. Times in seconds.

    `rest_port`: null for no REST. `queue`: predictions that may wait; one more is refused. `rest_timeout`: after which a
    REST request is given up. `config_poll`: how often a model configuration file is read again; 0 for once.
    """

    port: int = Field(8500, ge=0, le=65535)
    rest_port: int | None = Field(8501, ge=0, le=65535)
    rest_timeout: float = Field(30.0, gt=0)
    poll: float = Field(2.0, ge=0)
    config_poll: float = Field(0.0, ge=0)
    threads: int = Field(4, ge=1)
    queue: int = Field(128, ge=0)
    batching: BatchingConfig = BatchingConfig()
    max_message_bytes: int = Field(64 << 20, ge=1)
    limits: LimitsConfig = LimitsConfig()
    grace: float = Field(10.0, ge=0)
    timeout: float = Field(10.0, gt=0)


class InspectConfig(Section):
    """`triptych inspect RECORDS`. `sample`: items that are compared, the first ones; `shown`: items on the page;
    `likeness`: least cosine of two items in every feature that makes them near-duplicates; `reach`: rows by which a
    feature may be out of line; `heavy`: events from which on a user is named."""

    sample: int = Field(2000, ge=1)
    shown: int = Field(60, ge=0)
    likeness: float = Field(0.98, gt=0, le=1)
    reach: int = Field(3, ge=1)
    heavy: int = Field(2000, ge=1)


class TuneConfig(Section):
    """`triptych tune`. `trials`: how many, those of earlier calls included. `startup`: trials drawn at random, and never
    pruned, before the sampler and the pruner learn from them; `prune_after`: epochs of a trial before it may be pruned.

    `space`: option -> `choices`, or `low` and `high` (integers where both are) with `log` or `step`; the first trial is
    the configuration as it is, where that lies in the space."""

    trials: int = Field(30, ge=1)
    startup: int = Field(6, ge=1)
    prune_after: int = Field(4, ge=1)
    space: dict[str, dict[str, Any]] = {
        "train.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
        "train.batch": {"choices": [8, 16, 32, 64]},
        "user.width": {"choices": [32, 64, 128]},
        "user.layers": {"low": 1, "high": 3},
        "user.dropout": {"low": 0.0, "high": 0.5},
        "user.history": {"choices": [20, 50, 100]},
        "item.fusion": {"choices": ["attention", "concat", "gated", "transformer"]},
        "item.id_dropout": {"low": 0.0, "high": 0.8},
        "item.modality_dropout": {"low": 0.0, "high": 0.5},
        "retrieval.temperature": {"low": 0.5, "high": 4.0, "log": True},
        "retrieval.label_smoothing": {"low": 0.0, "high": 0.2},
        "ranking.weight": {"low": 0.01, "high": 1.0, "log": True},
    }


class DemoConfig(Section):
    """Size of the generated catalogue."""

    items: int = Field(600, ge=50)
    users: int = Field(800, ge=20)
    interactions: int = Field(40_000, ge=1000)


class Config(BaseModel):
    """Everything that can be set. A kind of the table without a section of its own takes a free dictionary."""

    model_config = ConfigDict(frozen=True, extra="allow")

    seed: int = 0
    build: BuildConfig = BuildConfig()
    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    audio: AudioConfig = AudioConfig()
    vector: VectorConfig = VectorConfig()
    categories: CategoriesConfig = CategoriesConfig()
    number: NumberConfig = NumberConfig()
    item: ItemConfig = ItemConfig()
    user: UserConfig = UserConfig()
    ranking: RankingConfig = RankingConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    search: SearchConfig = SearchConfig()
    cooccurrence: CooccurrenceConfig = CooccurrenceConfig()
    pretrain: PretrainConfig = PretrainConfig()
    train: TrainConfig = TrainConfig()
    hybrid: HybridConfig = HybridConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()
    tune: TuneConfig = TuneConfig()
    demo: DemoConfig = DemoConfig()
    inspect: InspectConfig = InspectConfig()

    def encoder_options(self, kind: str) -> dict[str, Any]:
        """Constructor options of the encoder of a kind."""
        section = getattr(self, kind, {})
        return section.model_dump() if isinstance(section, BaseModel) else dict(section)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(file: Path | None = None, changes: Sequence[str] = ()) -> Config:
    """Defaults, then the file, then `section.key=value` changes in order (values are YAML).

    Raises:
      SpecError: one line that names the file or change, the key, and what there is.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = yaml.safe_load(Path(file).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise SpecError(f"{file}: cannot read the configuration ({str(error).splitlines()[0]})") from error
        if not isinstance(values, dict):
            raise SpecError(f"{file}: a configuration is a mapping of sections")
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise SpecError(f"--set {change}: write it as section.key=value")
        *sections, key = path.split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise SpecError(f"--set {change}: {section} is a value, not a section")
        try:
            target[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecError(f"--set {change}: the value is not YAML") from error
    return validate(values, str(file) if file else "--set")


def validate(values: dict[str, Any], source: str) -> Config:
    """A configuration from plain values. Raises SpecError naming `source`."""
    known = (*Config.model_fields, *KINDS)
    for name in values:
        if name not in known:
            raise SpecError(f"{source}: no section {name!r}; {_nearest(name, known)}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            section = getattr(Config(), str(first["loc"][0]))
            raise SpecError(
                f"{source}: no option {path}; {_nearest(str(first['loc'][-1]), type(section).model_fields)}"
            ) from error
        raise SpecError(f"{source}: {path}: {first['msg']}") from error


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
