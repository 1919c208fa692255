"""The command line: one lazily loaded click command for each module `pipelines/<command>.py`."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "demo": "The whole way on a generated catalogue with text, pictures and sound.",
    "run": "Build, train, evaluate and export.",
    "build": "Build records from a data folder. One that was killed goes on when the same command is run again.",
    "pretrain": "Train the encoders on the catalogue alone; `train --set train.pretrained=OUT` starts from them.",
    "train": "Train on records.",
    "tune": "Search for a better configuration on the validation split.",
    "evaluate": "Rank the test split with the model and the baselines.",
    "export": "Write the next version of a SavedModel, once it has passed its gate.",
    "serve": "Serve exported models over gRPC and REST, newest versions first.",
    "query": "Ask a served model.",
    "app": "Open the web service and its page in front of a served model.",
    "monitor": "Compare what happens in the app with what the model was trained on; exit status 1 where it has drifted.",
    "inspect": "Tell what is in records or in a SavedModel, and what is odd about records.",
    "doctor": "Versions, accelerators, native decoders; what will not work and why.",
    "config": "Print all options with their values, as YAML.",
}
"""Command -> its line in `triptych --help`. It stands here so that the list costs no import of the commands."""


class LazyGroup(click.Group):
    """A group that imports the module of a command when that command is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        # The module of `config` is a package: what it runs stands in its __main__.
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
