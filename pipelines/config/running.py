"""The steps around the model: build, export, serve, inspect, demo."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pipelines.config.section import Section


class BuildConfig(Section):
    """`triptych build`.

    Attributes:
      max_bad: share of rejected rows and files above which the build ends with an error.
      window: most events in a training Example.
      overlap: events that a user's next training Example repeats as history.
      items_per_shard: items in a file.
      examples_per_shard: user windows in a file.
      workers: items encoded at a time.
      processes_from: items from which on workers are processes; a process takes seconds to start, but threads decode
        sounds one after the other.
      vocabulary_size: tokens of the WordPiece vocabulary.
      vocabulary_texts: largest number of texts that it is trained on; of more, every second, third, ... one.
      events_in_memory: events sorted at a time; a longer log is sorted through files that have no
        name and are gone when the build ends. All events of a user are sorted together.
      scratch: folder of these files; null: that of the records.
      check_sample: values of each feature that `--check` encodes.
      kinds: options of each feature kind where `dataset.yaml` gives none.
    """

    max_bad: float = Field(0.01, ge=0, le=1)
    window: int = Field(512, ge=2)
    overlap: int = Field(64, ge=0)
    items_per_shard: int = Field(4096, ge=1)
    examples_per_shard: int = Field(8192, ge=1)
    workers: int = Field(2, ge=1)
    processes_from: int = Field(20_000, ge=0)
    vocabulary_size: int = Field(6000, ge=100)
    vocabulary_texts: int = Field(100_000, ge=1)
    events_in_memory: int = Field(4_000_000, ge=1)
    scratch: str | None = None
    check_sample: int = Field(50, ge=1)
    kinds: dict[str, dict[str, Any]] = Field(
        {
            "image": {"size": 64},
            "audio": {"seconds": 2.0, "rate": 16000},
            "categories": {"max_values": 64, "max_vocabulary": 2000},
        }
    )


class ExportConfig(Section):
    """`triptych export`.

    Attributes:
      pool: candidates that diversity chooses among, as a multiple of k.
      max_k: largest k that the model answers.
      parity_requests: held-out requests whose served answers must equal Python's; each is also timed alone.
      warmup_requests: requests of each signature in the warm-up file.
      max_removed: share of the served items above which an update that would drop them is refused.
      index_dtype: of the table that a request scans: float32, bfloat16 or int8 (integers with one scale a row). The best
        by a smaller table are scored again in float32, whose rows the export holds too, so that answers are the same.
        Catalogues below 16,384 items are scanned in float32.
    """

    pool: int = Field(5, ge=1)
    max_k: int = Field(10_000, ge=1)
    parity_requests: int = Field(200, ge=1)
    warmup_requests: int = Field(8, ge=0)
    max_removed: float = Field(0.5, ge=0, le=1)
    index_dtype: Literal["float32", "bfloat16", "int8"] = "float32"


class BatchingConfig(Section):
    """Request batching of `triptych serve`; names and values are those of TensorFlow Serving's BatchingParameters.

    Attributes:
      enabled: whether requests are batched.
      max_batch_size: most rows of a batch.
      batch_timeout_micros: longest wait for a batch to fill, in microseconds.
      max_enqueued_batches: batches that may wait.
      num_batch_threads: batches run at a time; null: one for each processor.
      thread_pool_name: name of the threads.
      allowed_batch_sizes: sizes that batches are padded to; none: any.
      pad_variable_length_inputs: whether inputs of different lengths are padded to share a batch.
      enable_large_batch_splitting: whether larger requests are split.
      max_execution_batch_size: most rows of a call of the model; null: `max_batch_size`.
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
    """What the embedded server accepts in one request; null: anything.

    Attributes:
      max_rows: rows of a batch.
      max_length: events of a history, exclusions, candidates, with the padding that clients put in front.
      max_k: k, besides `export.max_k`.
      max_results: the largest k times rows.
      max_string_bytes: bytes of an id, a category or a query.
    """

    max_rows: int | None = Field(1024, ge=1)
    max_length: int | None = Field(10_000, ge=1)
    max_k: int | None = Field(None, ge=1)
    max_results: int | None = Field(1_000_000, ge=1)
    max_string_bytes: int | None = Field(65_536, ge=1)


class ServeConfig(Section):
    """`triptych serve` and `triptych query`. Times are in seconds.

    Attributes:
      port: gRPC port; 0: any free one.
      rest_port: REST port; 0: any free one; null: no REST.
      rest_timeout: after which a REST request is given up.
      poll: between two looks for new versions; 0: look once.
      load_retries: how often a version that fails to load is tried again although its files stay the same.
      load_retry_interval: between two of these tries.
      config_poll: between two readings of the model configuration file; 0: read once.
      threads: calls of the model at a time.
      queue: predictions that may wait; one more is refused.
      max_message_bytes: largest request.
      grace: for requests under way when the server stops.
      timeout: of `triptych query` and of the demo's client.
    """

    port: int = Field(8500, ge=0, le=65535)
    rest_port: int | None = Field(8501, ge=0, le=65535)
    rest_timeout: float = Field(30.0, gt=0)
    poll: float = Field(2.0, ge=0)
    load_retries: int = Field(0, ge=0)
    load_retry_interval: float = Field(60.0, ge=0)
    config_poll: float = Field(0.0, ge=0)
    threads: int = Field(4, ge=1)
    queue: int = Field(128, ge=0)
    batching: BatchingConfig = BatchingConfig()
    max_message_bytes: int = Field(64 << 20, ge=1)
    limits: LimitsConfig = LimitsConfig()
    grace: float = Field(10.0, ge=0)
    timeout: float = Field(10.0, gt=0)


class RecommendConfig(Section):
    """`triptych recommend`. None of these changes a list, but for the last digits of scores.

    Attributes:
      batch_size: most users in a call of the model.
      scores: most scores (users times items of the catalogue) in a call; with more items fewer users share one.
      threads: calls of the model at a time; null: one for each processor.
      part: users in a part; a run that was killed goes on behind the finished parts.
    """

    batch_size: int = Field(256, ge=1)
    scores: int = Field(64_000_000, ge=1)
    threads: int | None = Field(None, ge=1)
    part: int = Field(4096, ge=1)


class AppConfig(Section):
    """`triptych app`. Times are in seconds where nothing else is said.

    Attributes:
      host: address to listen at.
      port: port; 0: any free one.
      hosts: host names that it answers to.
      frames: origins whose pages may show the app's in a frame, such as a notebook's.
      behind_proxy: whether client addresses are those that a proxy on this machine reports.
      rate: most requests of one address.
      max_body_bytes: largest request.
      token_on_reads: whether lists and profiles need a token too (with --token-file).
      store: sqlite:PATH or redis://...; null: a SQLite file in the state folder.
      store_timeout: after which the store counts as unavailable.
      events_per_user: events kept of a user.
      keep_days: days that events are kept.
      most_events: events in one request.
      log_bytes: size at which a file of the event log is rotated.
      log_kinds: kinds of events that are logged as interactions.
      served_files: files of shown lists that are kept.
      timeout: of the model server.
      poll: between two looks for a new version.
      short_term: newest items of the history that the model gets.
      languages: grammars of the conditions in questions ("no horror"), the likeliest first; a path that ends in .yaml is one of your own.
      worth: kind of event -> its event value, as a share of the value's range.
      strength: kind of event -> its weight in the long-term taste, -1 to 1 (of a rating: at the end of its range).
      taste_rate: a of P <- a h + (1 - a) P.
      taste_weight: logits for a cosine of 1 with the long-term taste.
      unwanted_weight: logits taken for a cosine of 1 with what the user wants less of.
      least_cosine: smallest cosine that is given as a reason.
      pool: candidates that taste, rules and diversity order, as a multiple of k.
      max_k: largest k.
      max_excluded: most ids that the model is asked to exclude.
      max_results: most results that the model is asked for.
      picker_candidates: items that the taste picker may show.
      picker_demand: items that its choice should represent.
      rating_words: words that describe a user's ratings.
      shown_events: events in a profile.
      shown_categories: categories in `/about`.
      examples: questions that the page suggests; none: made from the catalogue.
    """

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    frames: tuple[str, ...] = ()
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
    languages: tuple[str, ...] = Field(("en", "de", "es", "fr", "zh"), min_length=1)
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


class McpConfig(Section):
    """`triptych mcp`, besides the section `app`, whose engine, store and limits it uses.

    Attributes:
      port: of --http; 0: any free one.
      rate: most calls of one user (or of one address without a user).
      max_k: largest list; a language model reads all of it.
      list_chars: characters of an item's text in a list.
      item_chars: characters of the text of one item.
      shown_items: items of a category in its resource.
      start_wait: seconds that a call waits for a model server that is starting.
      read_only: whether there are no tools that store or delete.
    """

    port: int = Field(8765, ge=0, le=65535)
    rate: str = "120/minute"
    max_k: int = Field(25, ge=1)
    list_chars: int = Field(300, ge=1)
    item_chars: int = Field(4000, ge=1)
    shown_items: int = Field(50, ge=1)
    start_wait: float = Field(45.0, ge=0)
    read_only: bool = False


class MonitorConfig(Section):
    """`triptych monitor`. Beyond one of the bounds the command exits with status 1.

    Attributes:
      days: days that are compared with the training events.
      least_lists: lists below which nothing is reported.
      least_events: events below which nothing is reported.
      least_click_through: smallest share of lists with a click, like or rating.
      least_coverage: smallest share of the catalogue that is recommended.
      most_embedding_shift: largest distance of the mean embedding of the events from that of the training events:
        squared, over the variance of these.
      most_modality_shift: largest total variation distance between the mean modality weights of events and training
        events.
      most_unknown: largest share of events on items that the model does not know.
    """

    days: float = Field(7.0, gt=0)
    least_lists: int = Field(200, ge=1)
    least_events: int = Field(100, ge=1)
    least_click_through: float = Field(0.01, ge=0, le=1)
    least_coverage: float = Field(0.05, ge=0, le=1)
    most_embedding_shift: float = Field(0.25, ge=0)
    most_modality_shift: float = Field(0.1, ge=0, le=1)
    most_unknown: float = Field(0.05, ge=0, le=1)


class InspectConfig(Section):
    """`triptych inspect RECORDS`.

    Attributes:
      sample: items that are compared, the first ones.
      shown: items on the page of --html.
      min_cosine: smallest cosine of near-duplicates, in every feature.
      reach: largest shift between features that is looked for, in rows.
      heavy: events above which a user is named.
    """

    sample: int = Field(2000, ge=1)
    shown: int = Field(60, ge=0)
    min_cosine: float = Field(0.98, gt=0, le=1)
    reach: int = Field(3, ge=1)
    heavy: int = Field(2000, ge=1)


class DemoConfig(Section):
    """Size of the generated catalogue.

    Attributes:
      items: items.
      users: users.
      interactions: interactions.
    """

    items: int = Field(600, ge=50)
    users: int = Field(800, ge=20)
    interactions: int = Field(40_000, ge=1000)
