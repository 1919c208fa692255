"""`triptych app` and `python -m pipelines.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.config.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured


@click.command("app", cls=OneLineErrors)
@click.option("--model", required=True, help="Name of the model, a folder in --models.")
@click.option("--data", type=PATH, help="Data folder with the item table and media; default: work/MODEL/data.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with exported models.")
@click.option("--state", type=PATH, help="Folder for profiles and events; default: work/MODEL/app.")
@click.option("--target", help="host:port of a model server; default: the embedded one, started if it is not running.")
@click.option("--spec", type=PATH, help="A dataset.yaml outside the data folder.")
@click.option("--host", help="Address to listen on; default: loopback only.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--rules", type=PATH, help="YAML file of business rules: pin, boost, bury, block.")
@click.option("--token-file", type=PATH, help="File with one token per line; POST and DELETE need one of them.")
@configured
def command(
    model: str,
    data: Path | None,
    state: Path | None,
    file: Path | None,
    changes: tuple[str, ...],
    **options: Any,
) -> None:
    """Run the web service and its page in front of a served model."""
    from pipelines.webapp import wiring as step

    data, state = data or WORK / model / "data", state or WORK / model / "app"
    step.run(step.AppJob(config=configuration(file, changes), model=model, data=data, state=state, **options))


if __name__ == "__main__":
    command(prog_name="triptych app")
