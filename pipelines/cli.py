"""The command line. Errors of the user are one line and exit status 2; a traceback is a bug."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipelines.cli_app import app, monitor
from pipelines.cli_options import MODELS, PATH, WORK, OneLineErrors, configuration, configured, with_strategy
from tfrecs.errors import SpecError


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="triptych")
def main() -> None:
    """Multimodal recommendations with TensorFlow: from a catalogue and a log to TensorFlow Serving."""


@main.command()
@click.option("--work", type=PATH, default=WORK, show_default=True, help="Where data, records and runs go.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Where the exported model goes.")
@configured
def demo(work: Path, models: Path, file: Path | None, changes: tuple[str, ...]) -> None:
    """The whole way on a generated catalogue with text, pictures and sound."""
    from pipelines import demo as step

    step.run(step.DemoJob(work, models, configuration(file, changes)))


@main.command()
@click.option("--data", type=PATH, required=True, help="Folder with tables, media and dataset.yaml.")
@click.option("--name", help="Name of the model; default: the folder's.")
@click.option("--spec", type=PATH, help="A dataset.yaml elsewhere.")
@click.option("--work", type=PATH, default=WORK, show_default=True)
@click.option("--models", type=PATH, default=MODELS, show_default=True)
@click.option("--strategy", help="cpu, mirrored, multiworker, tpu or auto.")
@configured
def run(
    data: Path,
    name: str | None,
    spec: Path | None,
    work: Path,
    models: Path,
    strategy: str | None,
    file: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Build, train, evaluate and export."""
    from pipelines import run as step

    config = configuration(file, with_strategy(changes, strategy))
    step.run(step.RunJob(data, name or data.resolve().name, config, work, models, spec))


@main.command()
@click.option("--data", type=PATH, required=True, help="Folder with tables, media and dataset.yaml.")
@click.option("--out", type=PATH, required=True, help="Where the records go.")
@click.option("--spec", type=PATH, help="A dataset.yaml elsewhere.")
@click.option("--vocabulary", type=PATH, help="A WordPiece vocabulary to take instead of training one.")
@click.option("--max-bad", type=float, help="Share of bad rows and files that ends the build with an error.")
@click.option("--append", is_flag=True, help="Add what is new in DATA to the records; what is there stays as it is.")
@click.option(
    "--resplit", is_flag=True, help="With --append: split all events anew, so that newer ones are trained on."
)
@click.option("--runner", help="An Apache Beam runner (DirectRunner, FlinkRunner, ...) that makes the shards.")
@click.argument("runner_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUNNER OPTIONS]")
@configured
def build(
    data: Path,
    out: Path,
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
    """Build records from a data folder. One that was killed goes on when the same command is run again."""
    from pipelines import build as step

    if max_bad is not None:
        changes = (*changes, f"build.max_bad={max_bad}")
    config = configuration(file, changes)
    step.run(step.BuildJob(data, out, config, spec, vocabulary, append, resplit, runner, runner_options))


@main.command()
@click.option("--records", type=PATH, required=True)
@click.option("--out", type=PATH, required=True, help="The run folder; one that was killed is continued.")
@click.option("--strategy", help="cpu, mirrored, multiworker, tpu or auto.")
@configured
def pretrain(records: Path, out: Path, strategy: str | None, file: Path | None, changes: tuple[str, ...]) -> None:
    """Train the encoders on the catalogue alone; `train --set train.pretrained=OUT` starts from them."""
    from pipelines import pretrain as step

    step.run(step.PretrainJob(records, out, configuration(file, with_strategy(changes, strategy))))


@main.command()
@click.option("--records", type=PATH, required=True)
@click.option("--out", type=PATH, required=True, help="The run folder; one that was killed is continued.")
@click.option("--strategy", help="cpu, mirrored, multiworker, tpu or auto.")
@click.option(
    "--continue",
    "continued",
    type=PATH,
    metavar="RUN",
    help="Start from the model of an earlier run, and its configuration, on records that were appended to since.",
)
@click.option("--data-service", metavar="HOST:PORT", help="A tf.data service whose workers read the records.")
@configured
def train(
    records: Path,
    out: Path,
    strategy: str | None,
    continued: Path | None,
    data_service: str | None,
    file: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Train on records."""
    from pipelines import train as step
    from pipelines.run_folder import RunFolder

    if continued is not None:
        file = file or RunFolder(continued).config_file
        changes = (*changes, f"train.continued={continued.resolve()}")

    if data_service is not None:
        changes = (*changes, f"train.data_service={data_service}")
    step.run(step.TrainJob(records, out, configuration(file, with_strategy(changes, strategy))))


@main.command()
@click.option("--records", type=PATH, required=True)
@click.option("--out", type=PATH, required=True, help="The search's folder; one that was stopped is continued.")
@click.option("--trials", type=click.IntRange(1), help="How many, those of earlier calls included.")
@click.option(
    "--space", type=PATH, help="A YAML file: option -> choices, or low and high; see `triptych config`, tune."
)
@configured
def tune(
    records: Path, out: Path, trials: int | None, space: Path | None, file: Path | None, changes: tuple[str, ...]
) -> None:
    """Search for a better configuration on the validation split."""
    from pipelines import tune as step

    if trials is not None:
        changes = (*changes, f"tune.trials={trials}")
    step.run(step.TuneJob(records, out, configuration(file, changes), space))


@main.command()
@click.option("--run", "folder", type=PATH, required=True)
def evaluate(folder: Path) -> None:
    """Rank the test split with the model and the baselines."""
    from pipelines import evaluate as step

    step.run(step.EvaluateJob(folder))


@main.command()
@click.option("--run", "folder", type=PATH, required=True)
@click.option("--to", type=PATH, required=True, help="The model's folder, saved_models/NAME.")
@click.option("--update", is_flag=True, help="With the items of --items instead of those of the training.")
@click.option("--items", type=PATH, help="Folder with the item table and media as they are now.")
@click.option("--spec", type=PATH, help="The dataset.yaml that says what is where in it.")
@click.option("--keep", is_flag=True, help="--items holds additions and changes only; the other items stay.")
def export(folder: Path, to: Path, update: bool, items: Path | None, spec: Path | None, keep: bool) -> None:
    """Write the next version of a SavedModel, once it has passed its gate."""
    from pipelines import export as step
    from pipelines.update import UpdateJob

    if update != (items is not None) or (items is None and (spec is not None or keep)):
        raise SpecError("--update takes --items DIR (and --spec FILE, --keep), and they take --update; give both")
    step.run(step.ExportJob(folder, to, UpdateJob(items, spec, keep) if items is not None else None))


@main.command()
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="Folder with models, or one model's.")
@click.option("--host", help="Address to listen at; default: loopback only.")
@click.option("--port", type=click.IntRange(0, 65535), help="gRPC port; 0: any free one.")
@click.option("--rest-port", "--rest_api_port", type=click.IntRange(0, 65535), help="REST port; 0: any free one.")
@click.option("--no-rest", is_flag=True, help="gRPC only.")
@click.option("--model-config-file", "--model_config_file", type=PATH, help="A ModelServerConfig, for --models.")
@click.option(
    "--model-config-file-poll-wait-seconds",
    "--model_config_file_poll_wait_seconds",
    "config_poll",
    type=click.FloatRange(0),
    help="How often to read that file again; 0: once.",
)
@click.option("--enable-batching", "--enable_batching", is_flag=True, help="Batch requests across clients.")
@click.option("--batching-parameters-file", "--batching_parameters_file", type=PATH, help="A BatchingParameters.")
@click.option("--monitoring-config-file", "--monitoring_config_file", type=PATH, help="A MonitoringConfig.")
@click.option("--ssl-config-file", "--ssl_config_file", type=PATH, help="An SSLConfig: TLS, for gRPC and REST.")
@click.option("--token-file", "--token_file", type=PATH, help="Tokens, one a line; requests must bring one.")
@configured
def serve(file: Path | None, changes: tuple[str, ...], **options: Any) -> None:
    """Serve exported models over gRPC and REST, newest versions first.

    Options with underscores, and the text protocol buffers that their files hold, are TensorFlow Serving's.
    """
    from pipelines import serve as step

    step.run(step.ServeJob(config=configuration(file, changes), **options))


@main.command()
@click.option("--target", help="host:port; default: the embedded server's port on this machine.")
@click.option("--model", required=True)
@click.option("--history", default="", help="Item ids, oldest first, separated by commas.")
@click.option("--text", default="", help="What to look for, in words.")
@click.option("--k", type=click.IntRange(1), default=10, show_default=True)
@click.option("--diversity", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@click.option("--category", "categories", multiple=True, help="Only items in one of these.")
@click.option("--models", type=PATH, default=MODELS, show_default=True, help="For titles, where it is there.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@configured
def query(
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
    """Ask a served model."""
    from pipelines import query as step

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


@main.command()
@click.argument("what", type=PATH)
@click.option("--html", type=PATH, help="Write one page with pictures, waveforms and text of a sample of items.")
@configured
def inspect(what: Path, html: Path | None, file: Path | None, changes: tuple[str, ...]) -> None:
    """Tell what is in records or in a SavedModel, and what is odd about records."""
    from pipelines import inspect as step

    step.run(step.InspectJob(what, configuration(file, changes), html))


@main.command()
def doctor() -> None:
    """Versions, accelerators, native decoders; what will not work and why."""
    from pipelines import doctor as step

    if not step.run(step.DoctorJob()).healthy:
        sys.exit(1)


@main.command()
@configured
def config(file: Path | None, changes: tuple[str, ...]) -> None:
    """Print all options with their values, as YAML."""
    click.echo(configuration(file, changes).to_yaml(), nl=False)


main.add_command(app)
main.add_command(monitor)


def step_main(name: str) -> None:
    """`python -m pipelines.<step>`: the same command, with its own name as the program's."""
    main([name, *sys.argv[1:]], prog_name="triptych")


if __name__ == "__main__":
    main()
