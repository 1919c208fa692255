"""`triptych train` and `python -m pipelines.train`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import PATH, OneLineErrors, configuration, configured, with_strategy


@click.command("train", cls=OneLineErrors)
@click.option("--records", type=PATH, required=True, help="Folder with records.")
@click.option("--out", type=PATH, required=True, help="The run folder; a run that was killed is continued.")
@click.option("--strategy", help="cpu, mirrored, multiworker, tpu or auto.")
@click.option(
    "--continue",
    "warm_start",
    type=PATH,
    metavar="RUN",
    help="Start from the model of an earlier run, and its configuration, on records that were appended to since.",
)
@click.option("--data-service", metavar="HOST:PORT", help="A tf.data service whose workers read the records.")
@configured
def command(
    records: Path,
    out: Path,
    strategy: str | None,
    warm_start: Path | None,
    data_service: str | None,
    file: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Train a model on records; a run that was killed continues when run again."""
    from pipelines.runs.run_folder import RunFolder
    from pipelines.training import trainer as step

    if warm_start is not None:
        file = file or RunFolder(warm_start).config_file
        changes = (*changes, f"train.warm_start={warm_start.resolve()}")

    if data_service is not None:
        changes = (*changes, f"train.data_service={data_service}")
    step.run(step.TrainJob(records, out, configuration(file, with_strategy(changes, strategy))))


if __name__ == "__main__":
    command(prog_name="triptych train")
