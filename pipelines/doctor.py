"""`triptych doctor` and `python -m pipelines.doctor`."""

from __future__ import annotations

import sys

import click

from pipelines.config.cli_options import OneLineErrors


@click.command("doctor", cls=OneLineErrors)
def command() -> None:
    """Check versions, accelerators and native decoders of this machine."""
    from pipelines.inspection import doctor as step

    if not step.run(step.DoctorJob()).healthy:
        sys.exit(1)


if __name__ == "__main__":
    command(prog_name="triptych doctor")
