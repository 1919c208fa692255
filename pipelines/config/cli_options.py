"""What the commands have in common: one-line errors, paths, and options that change the configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfrecs.errors import TriptychError

WORK, MODELS = Path("work"), Path("saved_models")

PATH = click.Path(path_type=Path)


class OneLineErrors(click.Command):
    """Prints a TriptychError as one line."""

    def invoke(self, context: click.Context) -> Any:
        # Keras warns of layers that hold no weights, once each time a model is saved; nobody can act on it.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        try:
            return super().invoke(context)
        except TriptychError as error:
            click.echo(f"triptych: {error}", err=True)
            context.exit(2)
        except KeyboardInterrupt:
            context.exit(130)


def configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --config and --set."""
    command = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option.")(command)
    return click.option("--config", "file", type=PATH, help="A YAML file of options; see `triptych config`.")(command)


def configuration(file: Path | None, changes: tuple[str, ...]) -> Any:
    """The `Config` that --config and --set of a command make."""
    from pipelines.config import load_config

    return load_config(file, changes)


def with_strategy(changes: tuple[str, ...], strategy: str | None) -> tuple[str, ...]:
    """--strategy as one more --set."""
    return changes if strategy is None else (*changes, f"train.strategy={strategy}")
