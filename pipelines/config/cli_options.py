"""Parts that commands share: one-line errors, paths, and options that change the configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfrecs.errors import TriptychError

WORK, MODELS = Path("work"), Path("saved_models")
MODEL_NAME = "default"  # of --model_base_path without --model_name, as in TensorFlow Serving

PATH = click.Path(path_type=Path)


class OneLineErrors(click.Command):
    """A command that prints a TriptychError as one line and exits with its status, 2 for mistakes of the user."""

    def invoke(self, context: click.Context) -> Any:
        # Keras warns of layers without weights each time a model is saved; users can do nothing about it.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        try:
            return super().invoke(context)
        except TriptychError as error:
            click.echo(f"triptych: {error}", err=True)
            context.exit(error.exit_status)
        except KeyboardInterrupt:
            context.exit(130)


def configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --config and --set to a command."""
    command = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option.")(command)
    return click.option("--config", "file", type=PATH, help="A YAML file of options; see `triptych config`.")(command)


def configuration(file: Path | None, changes: tuple[str, ...]) -> Any:
    """Load the `Config` that --config and --set of a command describe."""
    from pipelines.config import load_config

    return load_config(file, changes)


def with_strategy(changes: tuple[str, ...], strategy: str | None) -> tuple[str, ...]:
    """Append --strategy to the changes of --set."""
    return changes if strategy is None else (*changes, f"train.strategy={strategy}")
