"""`triptych tune` and `python -m pipelines.tune`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import PATH, OneLineErrors, configuration, configured


@click.command("tune", cls=OneLineErrors)
@click.option("--records", type=PATH, required=True, help="Folder with records.")
@click.option("--out", type=PATH, required=True, help="The search's folder; a search that was stopped is continued.")
@click.option("--trials", type=click.IntRange(1), help="How many, including those of earlier calls.")
@click.option(
    "--space", type=PATH, help="A YAML file: option -> choices, or low and high; see `triptych config`, tune."
)
@configured
def command(
    records: Path, out: Path, trials: int | None, space: Path | None, file: Path | None, changes: tuple[str, ...]
) -> None:
    """Search for a better configuration on the validation split."""
    from pipelines.tuning import tuner as step

    if trials is not None:
        changes = (*changes, f"tune.trials={trials}")
    step.run(step.TuneJob(records, out, configuration(file, changes), space))


if __name__ == "__main__":
    command(prog_name="triptych tune")
