"""`triptych recommend` and `python -m pipelines.recommend`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured


@click.command("recommend", cls=OneLineErrors)
@click.option("--model", required=True, help="Name of the model, a folder in --models.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with exported models.")
@click.option("--records", type=PATH, help="Records with the histories; default: work/MODEL/records.")
@click.option(
    "--events", type=PATH, help="Instead of records: a folder with a log of events, such as work/MODEL/app/events."
)
@click.option("--spec", type=PATH, help="With --events: a dataset.yaml elsewhere.")
@click.option(
    "--histories",
    type=PATH,
    help="Instead of records: a table of user_id and history, and other inputs of `recommend`.",
)
@click.option(
    "--users",
    default="all",
    show_default=True,
    help="all, ids separated by commas, or a file: user_id, or an id a line.",
)
@click.option("--new-users", is_flag=True, help="Give users of --users without any event a list too.")
@click.option("--k", type=click.IntRange(1), default=100, show_default=True, help="How many items in a list.")
@click.option(
    "--out", type=PATH, required=True, help="The file: .parquet, .jsonl or .csv, a row for each user and rank."
)
@click.option(
    "--category", "categories", multiple=True, help="Only items of this category; may be given several times."
)
@click.option("--exclude", help="Items for nobody: ids separated by commas, or a file: item_id, or an id a line.")
@click.option(
    "--diversity", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="0: best first; 1: most diverse."
)
@click.option("--text", default="", help="A text query for all users.")
@click.option("--context", multiple=True, metavar="NAME=VALUE", help="A further input of the model, for all users.")
@click.option("--now", help="The time of the lists, unix seconds or ISO-8601; default: that of the newest event.")
@click.option("--until", help="Only events before this time, which is also the time of the lists.")
@click.option("--explain", is_flag=True, help="Also why: because_id, and the weight of each modality.")
@click.option("--shard", default="1/1", help="i/n: only the users of shard i of n, into OUT-i-of-n.")
@click.option("--runner", help="An Apache Beam runner (DirectRunner, FlinkRunner, ...) that makes the lists.")
@click.argument("runner_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER OPTIONS]")
@configured
def command(
    model: str,
    models: Path,
    records: Path | None,
    events: Path | None,
    spec: Path | None,
    histories: Path | None,
    users: str,
    new_users: bool,
    k: int,
    out: Path,
    categories: tuple[str, ...],
    exclude: str | None,
    diversity: float,
    text: str,
    context: tuple[str, ...],
    now: str | None,
    until: str | None,
    explain: bool,
    shard: str,
    runner: str | None,
    runner_options: tuple[str, ...],
    file: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Make lists for all users, or given ones, through an export; a run that was killed continues when run again."""
    config = configuration(file, changes)
    if runner_options and runner is None:
        raise click.UsageError("what stands behind -- are options of a --runner, and none is named")
    if spec is not None and events is None:
        raise click.UsageError("--spec goes with --events")
    wrong = [pair for pair in context if "=" not in pair]
    if wrong:
        raise click.UsageError(f"--context {wrong[0]}: write it as NAME=VALUE")
    if records is None and events is None and histories is None:
        records = WORK / model / "records"

    from pipelines.bulk_lists import recommender as step
    from pipelines.bulk_lists.lister import ListOptions
    from pipelines.bulk_lists.selection import ALL, Selection, read_ids, read_moment, read_shard

    options = ListOptions(
        k=k,
        now=0 if now is None else read_moment("--now", now),
        query=text,
        exclude_ids=() if exclude is None else read_ids("--exclude", exclude, "item_id"),
        categories=categories,
        diversity=diversity,
        context=dict(pair.split("=", 1) for pair in context),
        explain=explain,
    )
    given = None if users == ALL else read_ids("--users", users, "user_id")
    selection = Selection(given, read_shard(shard))
    step.run(
        step.RecommendJob(
            model=models / model,
            out=out,
            config=config,
            options=options,
            records=records,
            events=events,
            histories=histories,
            spec=spec,
            selection=selection,
            new_users=new_users,
            until=None if until is None else read_moment("--until", until),
            runner=runner,
            runner_options=runner_options,
        )
    )


if __name__ == "__main__":
    command(prog_name="triptych recommend")
