"""`triptych pretrain` and `python -m pipelines.pretrain`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import PATH, OneLineErrors, configuration, configured, with_strategy


@click.command("pretrain", cls=OneLineErrors)
@click.option("--records", type=PATH, required=True, help="Folder with records.")
@click.option("--out", type=PATH, required=True, help="The run folder; a run that was killed is continued.")
@click.option("--strategy", help="cpu, mirrored, multiworker, tpu or auto.")
@configured
def command(records: Path, out: Path, strategy: str | None, file: Path | None, changes: tuple[str, ...]) -> None:
    """Train the encoders on the catalogue alone; `train --set train.pretrained=OUT` starts from them."""
    from pipelines.training import pretraining as step

    step.run(step.TrainJob(records, out, configuration(file, with_strategy(changes, strategy))))


if __name__ == "__main__":
    command(prog_name="triptych pretrain")
