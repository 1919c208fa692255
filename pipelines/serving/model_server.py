"""`triptych serve`: serve exported models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import BatchingConfig, Config
from pipelines.runs.progress import say
from serving.server import sources
from serving.server.access import read_tls, read_tokens
from serving.server.batching.batches import BatchingOptions
from serving.server.config_files import read_batching, read_prometheus_path
from serving.server.limits import RequestLimits
from serving.server.server import RestOptions, ServerOptions, serve
from serving.wire.errors import StartError


@dataclass(frozen=True)
class ServeJob:
    """What to serve, and where. None means the value of the configuration.

    Attributes:
      config: the configuration, of which the section `serve` is used.
      models: the folder with models, unless there is a `model_config_file`.
      host: the address to listen at; None is the loopback.
      port: gRPC port; 0 for any free one.
      rest_port: REST port; 0 for any free one.
      no_rest: gRPC only.
      model_config_file: a ModelServerConfig in text form.
      config_poll: seconds between two reads of that file; 0 to read it once.
      enable_batching: batch requests across clients.
      batching_parameters_file: a BatchingParameters in text form; needs `enable_batching`.
      monitoring_config_file: a MonitoringConfig in text form; without it there are no metrics.
      ssl_config_file: an SSLConfig in text form; without it connections are not encrypted.
      token_file: accepted bearer tokens, one per line; without it there is no authentication.
    """

    config: Config
    models: Path
    host: str | None = None
    port: int | None = None
    rest_port: int | None = None
    no_rest: bool = False
    model_config_file: Path | None = None
    config_poll: float | None = None
    enable_batching: bool = False
    batching_parameters_file: Path | None = None
    monitoring_config_file: Path | None = None
    ssl_config_file: Path | None = None
    token_file: Path | None = None


def run(job: ServeJob) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    settings = job.config.serve
    config_poll = settings.config_poll if job.config_poll is None else job.config_poll
    serve(
        sources.folder_source(job.models)
        if job.model_config_file is None
        else sources.config_file_source(job.model_config_file, poll_seconds=config_poll),
        ServerOptions(
            host=job.host,
            port=settings.port if job.port is None else job.port,
            poll_seconds=settings.poll,
            threads=settings.threads,
            max_message_bytes=settings.max_message_bytes,
            grace=settings.grace,
            queue=settings.queue,
            rest=rest_options(job),
            batching=batching_options(job),
            tls=None if job.ssl_config_file is None else read_tls(job.ssl_config_file),
            tokens=None if job.token_file is None else read_tokens(job.token_file),
            limits=RequestLimits(**settings.limits.model_dump()),
        ),
        source_name=str(job.model_config_file or job.models),
        echo=say,
    )


def rest_options(job: ServeJob) -> RestOptions | None:
    """The REST options of a job; None for gRPC only. Raises StartError."""
    settings = job.config.serve
    port = settings.rest_port if job.rest_port is None else job.rest_port
    if job.no_rest or port is None:
        if job.monitoring_config_file is not None:
            raise StartError("--monitoring-config-file: the metrics are on the REST port, and there is none")
        return None
    path = None if job.monitoring_config_file is None else read_prometheus_path(job.monitoring_config_file)
    return RestOptions(port, settings.rest_timeout, path)


def batching_options(job: ServeJob) -> BatchingOptions | None:
    """The batching options of a job; None without batching. Raises StartError."""
    settings: BatchingConfig = job.config.serve.batching
    if not (job.enable_batching or settings.enabled):
        if job.batching_parameters_file is not None:
            raise StartError("--batching-parameters-file is given without --enable-batching; give both or none")
        return None
    try:
        options = BatchingOptions(
            max_batch_size=settings.max_batch_size,
            batch_timeout_micros=settings.batch_timeout_micros,
            max_enqueued_batches=settings.max_enqueued_batches,
            num_batch_threads=settings.num_batch_threads or os.cpu_count() or 1,
            thread_pool_name=settings.thread_pool_name,
            allowed_batch_sizes=settings.allowed_batch_sizes,
            pad_variable_length_inputs=settings.pad_variable_length_inputs,
            enable_large_batch_splitting=settings.enable_large_batch_splitting,
            max_execution_batch_size=settings.max_execution_batch_size or settings.max_batch_size,
        )
    except ValueError as error:
        raise StartError(f"serve.batching: {error}") from error
    if job.batching_parameters_file is None:
        return options
    return read_batching(job.batching_parameters_file, options)
