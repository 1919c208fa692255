"""`triptych inspect` and `python -m pipelines.inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import PATH, OneLineErrors, configuration, configured


@click.command("inspect", cls=OneLineErrors)
@click.argument("what", type=PATH)
@click.option("--html", type=PATH, help="Write one page with pictures, waveforms and text of a sample of items.")
@configured
def command(what: Path, html: Path | None, file: Path | None, changes: tuple[str, ...]) -> None:
    """Show what is in records or in a SavedModel, and warn of oddities in records."""
    from pipelines.inspection import inspector as step

    step.run(step.InspectJob(what, configuration(file, changes), html))


if __name__ == "__main__":
    command(prog_name="triptych inspect")
