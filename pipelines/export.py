"""`triptych export` and `python -m pipelines.export`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import PATH, OneLineErrors
from tfrecs.errors import SpecError


@click.command("export", cls=OneLineErrors)
@click.option("--run", "folder", type=PATH, required=True, help="Folder of a trained run.")
@click.option("--to", type=PATH, required=True, help="The model's folder, saved_models/NAME.")
@click.option("--update", is_flag=True, help="Export the items of --items instead of those of the training.")
@click.option("--items", type=PATH, help="Folder with the item table and media as they are now.")
@click.option("--spec", type=PATH, help="The dataset.yaml of that folder, where it is elsewhere.")
@click.option("--keep", is_flag=True, help="--items has additions and changes only; all other items stay.")
def command(folder: Path, to: Path, update: bool, items: Path | None, spec: Path | None, keep: bool) -> None:
    """Export a run as the next version of a SavedModel, once it has passed every check."""
    from pipelines.exporting import exporter as step
    from pipelines.exporting.catalogue_update import UpdateJob

    if update != (items is not None) or (items is None and (spec is not None or keep)):
        raise SpecError("--update takes --items DIR (and --spec FILE, --keep), and they take --update; give both")
    step.run(step.ExportJob(folder, to, UpdateJob(items, spec, keep) if items is not None else None))


if __name__ == "__main__":
    command(prog_name="triptych export")
