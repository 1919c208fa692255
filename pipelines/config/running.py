"""The steps around the model: build, export, serve, inspect, demo."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipelines.config.section import Section


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
    kinds: dict[str, dict[str, Any]] = Field(
        {
            "image": {"size": 64},
            "audio": {"seconds": 2.0, "rate": 16000},
            "categories": {"max_values": 64, "max_vocabulary": 2000},
        }
    )


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


class AppConfig(Section):
    """`triptych app`. Times in seconds where nothing else is said.

    Attributes:
      host, port, hosts: where it listens, and the names that it answers to besides.
      behind_proxy: addresses of clients are what a proxy on this machine says.
      rate, max_body_bytes: limits of one address, of one request.
      token_on_reads: with --token-file, lists and profiles need a token too.
      store: sqlite:PATH or redis://...; null for a SQLite file in the state folder. `store_timeout`: after which it is away.
      events_per_user, keep_days: what is kept of a user. `most_events`: in one write.
      log_bytes: of a file of the log. `log_kinds`: events that are interactions. `served_files`: of shown lists, kept.
      timeout: of the model server. `poll`: between two looks for a new version.
      short_term: items of the history that the model is sent.
      worth: kind of event -> the event value that it stands for, as a share of the value's range.
      strength: kind of event -> how much it says about taste, -1 to 1 (of a rating: at the end of its range).
      taste_rate: a of P <- a h + (1 - a) P.
      taste_weight, unwanted_weight: logits for a cosine of 1 with the taste, with what less is wanted of.
      least_cosine: below which no reason speaks of nearness.
      pool: candidates that taste, rules and diversity order, as a multiple of k.
      max_k, max_excluded, max_results: the largest k; ids left out by the model; the most that it is asked for.
      picker_candidates, picker_demand: items that may be asked about, and that the answers should tell about.
      rating_words: words that verdicts are put into. `shown_events`, `shown_categories`: in a profile, in `/about`.
      examples: questions that the page suggests; none: made of the catalogue.
    """

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    behind_proxy: bool = False
    rate: str = "1000/second"
    max_body_bytes: int = Field(64 << 10, ge=1)
    token_on_reads: bool = False
    store: str | None = None
    store_timeout: float = Field(2.0, gt=0)
    events_per_user: int = Field(500, ge=1)
    keep_days: float = Field(400.0, gt=0)
    most_events: int = Field(1000, ge=1)
    log_bytes: int = Field(64 << 20, ge=1)
    log_kinds: tuple[str, ...] = ("click", "like", "dislike", "rating")
    served_files: int = Field(20, ge=1)
    timeout: float = Field(2.0, gt=0)
    poll: float = Field(5.0, gt=0)
    short_term: int = Field(50, ge=1)
    worth: dict[str, float] = Field({"like": 1.0, "dislike": 0.0})
    strength: dict[str, float] = Field({"view": 0.1, "click": 0.3, "like": 1.0, "dislike": -1.0, "rating": 1.0})
    taste_rate: float = Field(0.1, gt=0, le=1)
    taste_weight: float = Field(0.5, ge=0)
    unwanted_weight: float = Field(4.0, ge=0)
    least_cosine: float = Field(0.3, ge=0, le=1)
    pool: int = Field(5, ge=1)
    max_k: int = Field(100, ge=1)
    max_excluded: int = Field(5000, ge=0)
    max_results: int = Field(5000, ge=1)
    picker_candidates: int = Field(400, ge=1)
    picker_demand: int = Field(4000, ge=1)
    rating_words: int = Field(3, ge=1)
    shown_events: int = Field(50, ge=1)
    shown_categories: int = Field(200, ge=1)
    examples: tuple[str, ...] = ()


class MonitorConfig(Section):
    """`triptych monitor`. `days`: looked at. `least_lists`, `least_events`: below which nothing is said. The others are
    bounds of what `pipelines.monitoring.drift.measure` finds; beyond one of them the command exits with 1."""

    days: float = Field(7.0, gt=0)
    least_lists: int = Field(200, ge=1)
    least_events: int = Field(100, ge=1)
    least_click_through: float = Field(0.01, ge=0, le=1)
    least_coverage: float = Field(0.05, ge=0, le=1)
    most_embedding_shift: float = Field(0.25, ge=0)
    most_modality_shift: float = Field(0.1, ge=0, le=1)
    most_unknown: float = Field(0.05, ge=0, le=1)


class InspectConfig(Section):
    """`triptych inspect RECORDS`. `sample`: items that are compared, the first ones; `shown`: items on the page;
    `likeness`: least cosine of two items in every feature that makes them near-duplicates; `reach`: rows by which a
    feature may be out of line; `heavy`: events from which on a user is named."""

    sample: int = Field(2000, ge=1)
    shown: int = Field(60, ge=0)
    likeness: float = Field(0.98, gt=0, le=1)
    reach: int = Field(3, ge=1)
    heavy: int = Field(2000, ge=1)


class DemoConfig(Section):
    """Size of the generated catalogue."""

    items: int = Field(600, ge=50)
    users: int = Field(800, ge=20)
    interactions: int = Field(40_000, ge=1000)
