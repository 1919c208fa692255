"""`triptych serve`: serve exported models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import BatchingConfig, Config
from pipelines.config.cli_options import MODEL_NAME, MODELS
from pipelines.runs.progress import say
from serving.server import sources
from serving.server.access import read_tls, read_tokens
from serving.server.batching.batches import BatchingOptions
from serving.server.config_files import read_batching, read_prometheus_path
from serving.server.grpc_api.listeners import read_channel_arguments
from serving.server.limits import RequestLimits
from serving.server.server import RestOptions, ServerOptions, serve
from serving.wire.errors import StartError


@dataclass(frozen=True)
class ServeJob:
    """What to serve, and where. None means the value of the configuration.

    Attributes:
      config: the configuration, of which the section `serve` is used.
      models: the folder with models, unless there is a `model_base_path` or a `model_config_file`.
      model_base_path: the folder of one model, an absolute path, unless there is a `model_config_file`.
      model_name: name of that model.
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
      grpc_socket_path: a Unix socket that gRPC listens at too.
      grpc_channel_arguments: further arguments of gRPC's server, NAME=VALUE separated by commas.
      rest_timeout_ms: milliseconds after which a REST request is given up.
      poll: seconds between two looks for new versions; 0 to look once.
      load_retries: how often a version that fails to load is tried again.
      load_retry_micros: microseconds between two of these tries; less than 0 counts as 0.
    """

    config: Config
    models: Path | None = None
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
    model_name: str | None = None
    model_base_path: str | None = None
    grpc_socket_path: str | None = None
    grpc_channel_arguments: str = ""
    rest_timeout_ms: int | None = None
    poll: float | None = None
    load_retries: int | None = None
    load_retry_micros: int | None = None


def run(job: ServeJob) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    settings = job.config.serve
    source, source_name = model_source(job)
    retry_micros = job.load_retry_micros
    serve(
        source,
        ServerOptions(
            host=job.host,
            port=settings.port if job.port is None else job.port,
            poll_seconds=poll_seconds(job),
            threads=settings.threads,
            max_message_bytes=settings.max_message_bytes,
            grace=settings.grace,
            queue=settings.queue,
            rest=rest_options(job),
            batching=batching_options(job),
            tls=None if job.ssl_config_file is None else read_tls(job.ssl_config_file),
            tokens=None if job.token_file is None else read_tokens(job.token_file),
            limits=RequestLimits(**settings.limits.model_dump()),
            socket_path=job.grpc_socket_path,
            channel_arguments=read_channel_arguments(job.grpc_channel_arguments),
            load_retries=settings.load_retries if job.load_retries is None else job.load_retries,
            load_retry_seconds=settings.load_retry_interval if retry_micros is None else max(0, retry_micros) / 1e6,
        ),
        source_name=source_name,
        echo=say,
    )


def model_source(job: ServeJob) -> tuple[sources.Source, str]:
    """The models of a job, and what names them. What is given in vain is said. Raises StartError."""
    sources_given = {
        "--model_config_file": job.model_config_file,
        "--model_base_path": job.model_base_path,
        "--models": job.models,
    }
    used, *ignored = [flag for flag, value in sources_given.items() if value is not None] or ["--models"]
    if job.model_name is not None and used != "--model_base_path":
        if used != "--model_config_file":
            raise StartError("--model_name names the model in --model_base_path, and there is none; give both or none")
        ignored.append("--model_name")
    for flag in ignored:
        say(f"{flag} is ignored: {used} names the models")
    if job.model_config_file is not None:
        poll = job.config.serve.config_poll if job.config_poll is None else job.config_poll
        return sources.config_file_source(job.model_config_file, poll_seconds=poll), str(job.model_config_file)
    if job.model_base_path is not None:
        return sources.model_source(job.model_name or MODEL_NAME, job.model_base_path), job.model_base_path
    models = job.models or MODELS
    return sources.folder_source(models), str(models)


def poll_seconds(job: ServeJob) -> float:
    """Seconds between two polls of a job's models: those of the versions, or of the configuration file if shorter."""
    versions = job.config.serve.poll if job.poll is None else job.poll
    file = job.config.serve.config_poll if job.config_poll is None else job.config_poll
    if job.model_config_file is None or not file:
        return versions
    return min(versions, file) if versions else file


def rest_options(job: ServeJob) -> RestOptions | None:
    """The REST options of a job; None for gRPC only. Raises StartError."""
    settings = job.config.serve
    port = settings.rest_port if job.rest_port is None else job.rest_port
    if job.no_rest or port is None:
        if job.monitoring_config_file is not None:
            raise StartError("--monitoring-config-file: the metrics are on the REST port, and there is none")
        return None
    path = None if job.monitoring_config_file is None else read_prometheus_path(job.monitoring_config_file)
    timeout = settings.rest_timeout if job.rest_timeout_ms is None else job.rest_timeout_ms / 1000
    return RestOptions(port, timeout, path)


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
