"""The commands of the app: `triptych app` and `triptych monitor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipelines.cli_options import MODELS, PATH, WORK, configuration, configured


@click.command()
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
def app(
    model: str,
    data: Path | None,
    state: Path | None,
    file: Path | None,
    changes: tuple[str, ...],
    **options: Any,
) -> None:
    """Open the web service and its page in front of a served model."""
    from pipelines import app as step

    data, state = data or WORK / model / "data", state or WORK / model / "app"
    step.run(step.AppJob(config=configuration(file, changes), model=model, data=data, state=state, **options))


@click.command()
@click.option("--model", required=True, help="Its name below --models.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with exported models.")
@click.option("--state", type=PATH, help="The app's folder; default: work/MODEL/app.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@configured
def monitor(
    model: str, models: Path, state: Path | None, as_json: bool, file: Path | None, changes: tuple[str, ...]
) -> None:
    """Compare what happens in the app with what the model was trained on; exit status 1 where it has drifted."""
    from pipelines import monitor as step

    job = step.MonitorJob(state or WORK / model / "app", models, model, configuration(file, changes), as_json)
    if step.run(job).drifted:
        sys.exit(1)
