"""The command line: one lazily loaded click command for each module `pipelines/<command>.py`."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "demo": "Generate a catalogue with text, pictures and sound, and run every step on it.",
    "run": "Build, train, evaluate and export.",
    "build": "Build records from a data folder; a build that was killed continues when run again.",
    "pretrain": "Train the encoders on the catalogue alone; `train --set train.pretrained=OUT` starts from them.",
    "train": "Train a model on records; a run that was killed continues when run again.",
    "tune": "Search for a better configuration on the validation split.",
    "evaluate": "Rank the test split with the model and the baselines, and write a report.",
    "export": "Export a run as the next version of a SavedModel, once it has passed every check.",
    "serve": "Serve exported models over gRPC and REST, newest versions first.",
    "recommend": "Make lists for all users, or given ones, through an export; a run that was killed continues when run again.",
    "query": "Ask a served model for recommendations.",
    "app": "Run the web service and its page in front of a served model.",
    "mcp": "Offer the recommender to language-model agents as tools (Model Context Protocol).",
    "monitor": "Compare the events of the app with the training data; exit status 1 if they have drifted apart.",
    "inspect": "Show what is in records or in a SavedModel, and warn of oddities in records.",
    "doctor": "Check versions, accelerators and native decoders of this machine.",
    "config": "Print all options with their values, as YAML.",
}
"""Command -> its line in `triptych --help`, kept here so that help imports no command."""


class LazyGroup(click.Group):
    """A group that imports the module of a command when that command is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        # `pipelines.config` is a package, whose command is in its __main__.
        module = "pipelines.config.__main__" if name == "config" else f"pipelines.{name}"
        command: click.Command = importlib.import_module(module).command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="triptych")
def main() -> None:
    """Multimodal recommendations with TensorFlow: from a catalogue and a log to TensorFlow Serving."""


if __name__ == "__main__":
    main()
