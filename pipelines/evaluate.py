"""`triptych evaluate` and `python -m pipelines.evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import PATH, OneLineErrors


@click.command("evaluate", cls=OneLineErrors)
@click.option("--run", "folder", type=PATH, required=True, help="Folder of a trained run.")
def command(folder: Path) -> None:
    """Rank the test split with the model and the baselines, and write a report."""
    from pipelines.evaluation import evaluator as step

    step.run(step.EvaluateJob(folder))


if __name__ == "__main__":
    command(prog_name="triptych evaluate")
