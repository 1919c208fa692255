"""`triptych mcp` and `python -m pipelines.mcp`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.config.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured
from tfrecs.errors import SpecError


@click.command("mcp", cls=OneLineErrors)
@click.option("--model", required=True, help="Name of the model, a folder in --models.")
@click.option("--data", type=PATH, help="Data folder with the item table; default: work/MODEL/data.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with exported models.")
@click.option("--state", type=PATH, help="Folder for profiles and events; default: work/MODEL/app, as the app's.")
@click.option("--target", help="host:port of a model server; default: the embedded one, started if it is not running.")
@click.option("--spec", type=PATH, help="A dataset.yaml outside the data folder.")
@click.option("--rules", type=PATH, help="YAML file of business rules: pin, boost, bury, block.")
@click.option("--user", help="User of the connection over stdio; default: a new one that ends with it.")
@click.option("--read-only", is_flag=True, help="Offer no tool that stores or deletes.")
@click.option("--http", is_flag=True, help="Serve streamable HTTP at /mcp instead of stdio.")
@click.option("--host", help="With --http, address to listen on; default: loopback only.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --http, port to listen on; 0 takes a free one.")
@click.option(
    "--token-file", type=PATH, help="With --http, file with one token per line; feedback and forget need one."
)
@configured
def command(
    model: str,
    data: Path | None,
    state: Path | None,
    http: bool,
    user: str | None,
    read_only: bool,
    file: Path | None,
    changes: tuple[str, ...],
    **options: Any,
) -> None:
    """Offer the recommender to language-model agents as tools (Model Context Protocol).

    Over stdio, an assistant starts this command and is its one client. With --http, requests name their user in the header
    x-triptych-user.
    """
    try:
        from pipelines.webapp import agents as step
        from pipelines.webapp.wiring import AppJob
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise SpecError(f"mcp needs the package {package}: pip install -c constraints.txt -e '.[mcp]'") from error
    data, state = data or WORK / model / "data", state or WORK / model / "app"
    app = AppJob(config=configuration(file, changes), model=model, data=data, state=state, **options)
    step.run(step.AgentJob(app=app, http=http, user=user, read_only=read_only))


if __name__ == "__main__":
    command(prog_name="triptych mcp")
