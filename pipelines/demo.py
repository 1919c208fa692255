"""`triptych demo` and `python -m pipelines.demo`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured


@click.command("demo", cls=OneLineErrors)
@click.option("--work", type=PATH, default=WORK, show_default=True, help="Where data, records and runs go.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Where the exported model goes.")
@configured
def command(work: Path, models: Path, file: Path | None, changes: tuple[str, ...]) -> None:
    """Generate a catalogue with text, pictures and sound, and run every step on it."""
    from pipelines.workflow import demo as step

    step.run(step.DemoJob(work, models, configuration(file, changes)))


if __name__ == "__main__":
    command(prog_name="triptych demo")
