"""`triptych serve` and `python -m pipelines.serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.config.cli_options import MODELS, PATH, OneLineErrors, configuration, configured


@click.command("serve", cls=OneLineErrors)
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with models, or one model's.")
@click.option("--host", help="Address to listen at; default: loopback only.")
@click.option("--port", type=click.IntRange(0, 65535), help="gRPC port; 0: any free one.")
@click.option("--rest-port", "--rest_api_port", type=click.IntRange(0, 65535), help="REST port; 0: any free one.")
@click.option("--no-rest", is_flag=True, help="gRPC only.")
@click.option("--model-config-file", "--model_config_file", type=PATH, help="A ModelServerConfig, for --models.")
@click.option(
    "--model-config-file-poll-wait-seconds",
    "--model_config_file_poll_wait_seconds",
    "config_poll",
    type=click.FloatRange(0),
    help="Seconds between two reads of that file; 0: read it once.",
)
@click.option("--enable-batching", "--enable_batching", is_flag=True, help="Batch requests across clients.")
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
