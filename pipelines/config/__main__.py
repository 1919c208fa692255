"""`triptych config` and `python -m pipelines.config`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import OneLineErrors, configuration, configured


@click.command("config", cls=OneLineErrors)
@configured
def command(file: Path | None, changes: tuple[str, ...]) -> None:
    """Print all options with their values, as YAML."""
    click.echo(configuration(file, changes).to_yaml(), nl=False)


if __name__ == "__main__":
    command(prog_name="triptych config")
