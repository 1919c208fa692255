"""`triptych build` and `python -m pipelines.build`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import PATH, OneLineErrors, configuration, configured


@click.command("build", cls=OneLineErrors)
@click.option("--data", type=PATH, required=True, help="Folder with tables, media and dataset.yaml.")
@click.option("--out", type=PATH, help="Where the records go.")
@click.option(
    "--check", is_flag=True, help="Only say what would happen, and what is wrong with the data; write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="With --check: one line of JSON.")
@click.option("--spec", type=PATH, help="A dataset.yaml elsewhere.")
@click.option("--vocabulary", type=PATH, help="A WordPiece vocabulary to use instead of training one.")
@click.option("--max-bad", type=float, help="Share of bad rows and files above which the build fails.")
@click.option(
    "--append", is_flag=True, help="Add what is new in DATA to the records; existing records stay as they are."
)
@click.option(
    "--resplit", is_flag=True, help="With --append: split all events again, so that newer ones are trained on."
)
@click.option("--runner", help="An Apache Beam runner (DirectRunner, FlinkRunner, ...) that writes the shards.")
@click.argument("runner_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER OPTIONS]")
@configured
def command(
    data: Path,
    out: Path | None,
    check: bool,
    as_json: bool,
    spec: Path | None,
    vocabulary: Path | None,
    max_bad: float | None,
    append: bool,
    resplit: bool,
    runner: str | None,
    runner_options: tuple[str, ...],
    file: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Build records from a data folder; a build that was killed continues when run again."""
    from pipelines.building import builder as step

    if check and (append or runner or vocabulary):
        raise click.UsageError("--check looks at a build of its own; leave --append, --runner and --vocabulary away")
    if as_json and not check:
        raise click.UsageError("--json goes with --check")
    if max_bad is not None:
        changes = (*changes, f"build.max_bad={max_bad}")
    config = configuration(file, changes)
    if check:
        from pipelines.workflow.check import CheckJob
        from pipelines.workflow.check import run as run_check

        run_check(CheckJob(data, config, spec, out, as_json))
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    step.run(step.BuildJob(data, out, config, spec, vocabulary, append, resplit, runner, runner_options))


if __name__ == "__main__":
    command(prog_name="triptych build")
