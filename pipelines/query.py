"""`triptych query` and `python -m pipelines.query`."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.config.cli_options import MODELS, PATH, OneLineErrors, configuration, configured


@click.command("query", cls=OneLineErrors)
@click.option("--target", help="host:port; default: the embedded server's port on this machine.")
@click.option("--model", required=True, help="Its name on the server.")
@click.option("--history", default="", help="Item ids, oldest first, separated by commas.")
@click.option("--text", default="", help="A text query.")
@click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="How many recommendations.")
@click.option(
    "--diversity", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="0: best first; 1: most diverse."
)
@click.option(
    "--category", "categories", multiple=True, help="Only items of this category; may be given several times."
)
@click.option(
    "--models", type=PATH, default=MODELS, show_default=True, help="Folder with exported models, to show titles."
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@configured
def command(
    target: str | None,
    model: str,
    history: str,
    text: str,
    k: int,
    diversity: float,
    categories: tuple[str, ...],
    models: Path,
    as_json: bool,
    file: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Ask a served model for recommendations."""
    from pipelines.serving import query as step

    settings = configuration(file, changes).serve
    events = tuple(part.strip() for part in history.split(",") if part.strip())
    step.run(
        step.QueryJob(
            target or f"127.0.0.1:{settings.port}",
            model,
            events,
            text,
            k,
            diversity,
            categories,
            settings.timeout,
            models,
            as_json,
        )
    )


if __name__ == "__main__":
    command(prog_name="triptych query")
