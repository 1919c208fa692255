"""A build in a process of its own that ends as a kill from outside would end it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_folder import run


def run_forked(function: Callable[..., Any], *arguments: Any) -> int | None:
    """Run a function of a module in a child process and return the child's exit code.

    Children are forked from one server process that has imported TensorFlow, which takes a child seconds otherwise.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tfrecs", "tfrecs.build.builder"])
    process = context.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def killed_build(data: Path, out: Path, stage: str, done: int, processes_from: int) -> None:
    """Build until `done` rows of a stage are done: no clean-up runs, no buffer is flushed."""

    def kill(at: str, number: int, total: int) -> None:
        if at == stage and number >= done:
            os.kill(os.getpid(), signal.SIGKILL)

    run(data, out, progress=kill, processes_from=processes_from)
