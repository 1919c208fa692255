"""`triptych app` and `python -m pipelines.app`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.config.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured


@click.command("app", cls=OneLineErrors)
@click.option("--model", required=True, help="Its name below --models.")
@click.option("--data", type=PATH, help="Data folder with the item table and media; default: work/MODEL/data.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with exported models.")
@click.option("--state", type=PATH, help="Where profiles and events go; default: work/MODEL/app.")
@click.option("--target", help="host:port of a model server; default: the embedded one, started where it is not there.")
@click.option("--spec", type=PATH, help="A dataset.yaml elsewhere.")
@click.option("--host", help="Address to listen at; default: loopback only.")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--rules", type=PATH, help="A YAML file: pin, boost, bury, block.")
@click.option("--token-file", type=PATH, help="Tokens, one a line; POST and DELETE must bring one.")
@configured
def command(
    model: str,
    data: Path | None,
    state: Path | None,
    file: Path | None,
    changes: tuple[str, ...],
    **options: Any,
) -> None:
    """Open the web service and its page in front of a served model."""
    from pipelines.webapp import wiring as step

    data, state = data or WORK / model / "data", state or WORK / model / "app"
    step.run(step.AppJob(config=configuration(file, changes), model=model, data=data, state=state, **options))


if __name__ == "__main__":
    command(prog_name="triptych app")
