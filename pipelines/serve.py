"""`triptych serve` and `python -m pipelines.serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.config.cli_options import MODEL_NAME, MODELS, PATH, OneLineErrors, configuration, configured


class ServeCommand(OneLineErrors):
    """A command that says of TensorFlow Serving's flags that it lacks what they would do."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            from pipelines.serving.tensorflow_flags import explanation

            explained = explanation(error.option_name)
            if explained is None:
                raise
            click.echo(f"triptych: {explained}", err=True)
            context.exit(2)


def _flag(*names: str, help: str) -> Any:
    """A flag that is also given as --flag=true and --flag=false, as those of TensorFlow Serving are."""
    return click.option(
        *names, type=bool, is_flag=False, flag_value="true", default=False, metavar="[=true]", help=help
    )


@click.command("serve", cls=ServeCommand)
@click.option("--models", type=PATH, help=f"Folder with models, or one model's; default: {MODELS}.")
@click.option("--model-name", "--model_name", help=f"Name of the model in --model_base_path; default: {MODEL_NAME}.")
@click.option("--model-base-path", "--model_base_path", help="Folder of one model, an absolute path, for --models.")
@click.option("--host", help="Address to listen at; default: loopback only.")
@click.option("--port", type=click.IntRange(0, 65535), help="gRPC port; 0: any free one.")
@click.option("--grpc-socket-path", "--grpc_socket_path", help="A Unix socket for gRPC, besides the port.")
@click.option(
    "--grpc-channel-arguments",
    "--grpc_channel_arguments",
    default="",
    help="Arguments of gRPC's server, such as grpc.max_connection_age_ms=2000; commas between them.",
)
@click.option("--rest-port", "--rest_api_port", type=click.IntRange(0, 65535), help="REST port; 0: any free one.")
@click.option(
    "--rest-api-timeout-in-ms",
    "--rest_api_timeout_in_ms",
    "rest_timeout_ms",
    type=click.IntRange(1),
    help="Milliseconds after which a REST request is given up.",
)
@click.option("--no-rest", is_flag=True, help="gRPC only.")
@click.option("--model-config-file", "--model_config_file", type=PATH, help="A ModelServerConfig, for --models.")
@click.option(
    "--model-config-file-poll-wait-seconds",
    "--model_config_file_poll_wait_seconds",
    "config_poll",
    type=click.FloatRange(0),
    help="Seconds between two reads of that file; 0: read it once.",
)
@click.option(
    "--file-system-poll-wait-seconds",
    "--file_system_poll_wait_seconds",
    "poll",
    type=click.FloatRange(0),
    help="Seconds between two looks for new versions; 0: look once.",
)
@click.option(
    "--max-num-load-retries",
    "--max_num_load_retries",
    "load_retries",
    type=click.IntRange(0),
    help="How often a version that fails to load is tried again.",
)
@click.option(
    "--load-retry-interval-micros",
    "--load_retry_interval_micros",
    "load_retry_micros",
    type=int,
    help="Microseconds between two of these tries.",
)
@_flag("--enable-batching", "--enable_batching", help="Batch requests across clients.")
@click.option("--batching-parameters-file", "--batching_parameters_file", type=PATH, help="A BatchingParameters.")
@click.option("--monitoring-config-file", "--monitoring_config_file", type=PATH, help="A MonitoringConfig.")
@click.option("--ssl-config-file", "--ssl_config_file", type=PATH, help="An SSLConfig: TLS, for gRPC and REST.")
@click.option("--token-file", "--token_file", type=PATH, help="Tokens, one a line; requests need one.")
@configured
def command(file: Path | None, changes: tuple[str, ...], **options: Any) -> None:
    """Serve exported models over gRPC and REST, newest versions first.

    Options with underscores, and the text protocol buffers in their files, are those of TensorFlow Serving.
    """
    from pipelines.serving import model_server as step

    step.run(step.ServeJob(config=configuration(file, changes), **options))


if __name__ == "__main__":
    command(prog_name="triptych serve")
