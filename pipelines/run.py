"""`triptych run` and `python -m pipelines.run`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured, with_strategy


@click.command("run", cls=OneLineErrors)
@click.option("--data", type=PATH, required=True, help="Folder with tables, media and dataset.yaml.")
@click.option("--name", help="Name of the model; default: the folder's.")
@click.option("--spec", type=PATH, help="A dataset.yaml elsewhere.")
@click.option("--work", type=PATH, default=WORK, show_default=True, help="Where records and runs go.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Where the export goes.")
@click.option("--strategy", help="cpu, mirrored, multiworker, tpu or auto.")
@configured
def command(
    data: Path,
    name: str | None,
    spec: Path | None,
    work: Path,
    models: Path,
    strategy: str | None,
    file: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Build, train, evaluate and export."""
    from pipelines.workflow import full_run as step

    config = configuration(file, with_strategy(changes, strategy))
    step.run(step.RunJob(data, name or data.resolve().name, config, work, models, spec))


if __name__ == "__main__":
    command(prog_name="triptych run")
