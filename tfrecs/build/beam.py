"""Writes shards with an Apache Beam pipeline, on as many machines as its runner has.

The content of each shard is pickled to a file in the work folder, and only the names of these files go through the
pipeline, because a pipeline's own graph must stay small (Dataflow takes 10 MB). Workers therefore must see the data
folder and the records under the same paths, on a shared file system.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tfrecs.build.encoding import encoder
from tfrecs.build.shards import ItemShard, WindowShard
from tfrecs.build.work_folder import WorkFolder
from tfrecs.errors import DataError, SpecError

_REMEDY = "pip install 'apache-beam' as README says, or leave --runner away to work on this machine alone"


def make_with_beam(
    work: WorkFolder, shards: Iterable[ItemShard | WindowShard], *, runner: str, options: Sequence[str]
) -> None:
    """Write the shards that are not complete yet.

    Args:
      work: of the build.
      shards: of the build.
      runner: name of a Beam runner, such as DirectRunner, FlinkRunner or DataflowRunner.
      options: options of the runner, as on a command line.

    Raises:
      SpecError: Beam is not installed, or has no such runner.
      DataError: the pipeline ended, but this process cannot see all shards.
    """
    created = beam_runner(runner)
    tasks = work.folder / "tasks"
    shutil.rmtree(tasks, ignore_errors=True)
    tasks.mkdir()
    keys: dict[str, str] = {}
    for shard in shards:  # One at a time: together they are the whole log.
        key = shard.key()
        if work.finished(shard.name, key) is None:
            keys[shard.name] = key
            (tasks / shard.name).write_bytes(pickle.dumps((shard, key)))
    run_with_beam(partial(make_task, str(work.folder)), [*keys], created, options)
    missing = [name for name, key in keys.items() if work.finished(name, key) is None]
    if missing:
        raise unseen(work.records / missing[0])
    shutil.rmtree(tasks)


def beam_runner(name: str) -> Any:
    """Create a Beam runner. Raises SpecError where Beam is not installed, or has no such runner."""
    try:
        import apache_beam as beam
    except ImportError as error:
        raise SpecError(f"--runner {name} needs Apache Beam, which is not installed ({error}); {_REMEDY}") from error
    try:
        return beam.runners.create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise SpecError(f"--runner {name}: {str(error).splitlines()[0]}") from error


def run_with_beam(make: Callable[[str], object], names: Sequence[str], runner: Any, options: Sequence[str]) -> None:
    """Call `make` with each name on the workers of a Beam runner, which may call it twice.

    Args:
      make: a function of a module, or a `partial` of one.
      names: of the tasks; none: nothing is run.
      runner: from `beam_runner`.
      options: options of the runner, as on a command line.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    if not names:
        return
    with beam.Pipeline(runner=runner, options=PipelineOptions(list(options))) as pipeline:
        spread = pipeline | "Names" >> beam.Create(list(names)) | "Spread" >> beam.Reshuffle()
        _ = spread | "Make" >> beam.Map(make)


def unseen(path: Path) -> DataError:
    """Return the error for a file that a worker made and this process cannot see."""
    return DataError(
        f"{path}: made by a worker but not to be seen here; put it on a file system that all workers share"
    )


def make_task(folder: str, name: str) -> str:
    """Write one shard, in one thread; runs on a worker. Runners may run a task twice at a time, which does no harm."""
    work = WorkFolder(Path(folder))
    shard, key = pickle.loads((work.folder / "tasks" / name).read_bytes())
    with tempfile.TemporaryDirectory(dir=folder) as apart:
        if isinstance(shard, ItemShard):
            with encoder(shard.items.features, workers=1, processes=False) as encode:
                finished = shard.make(Path(apart), key, encode)
        else:
            finished = shard.make(Path(apart), key)
        (Path(apart) / name).replace(work.records / name)
    work.finish(finished)
    return name
