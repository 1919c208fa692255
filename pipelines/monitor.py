"""`triptych monitor` and `python -m pipelines.monitor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipelines.config.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured


@click.command("monitor", cls=OneLineErrors)
@click.option("--model", required=True, help="Name of the model, a folder in --models.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with exported models.")
@click.option("--state", type=PATH, help="The app's folder; default: work/MODEL/app.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@configured
def command(
    model: str, models: Path, state: Path | None, as_json: bool, file: Path | None, changes: tuple[str, ...]
) -> None:
    """Compare the events of the app with the training data; exit status 1 if they have drifted apart."""
    from pipelines.monitoring import drift as step

    job = step.MonitorJob(state or WORK / model / "app", models, model, configuration(file, changes), as_json)
    if step.run(job).drifted:
        sys.exit(1)


if __name__ == "__main__":
    command(prog_name="triptych monitor")
