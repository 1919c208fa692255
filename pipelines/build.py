"""`triptych build`: a data folder -> records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import Config
from pipelines.progress import Advance, progress, say
from tfrecs import build as builder
from tfrecs.infer import infer_spec
from tfrecs.schema import REJECTED_FILE, Manifest
from tfrecs.spec import SPEC_FILE, load_spec, spec_to_yaml


@dataclass(frozen=True)
class BuildJob:
    """`spec`: a dataset.yaml elsewhere; None: the one in `data`, or what its files suggest. `vocabulary`: a WordPiece
    vocabulary to take instead of training one."""

    data: Path
    out: Path
    config: Config
    spec: Path | None = None
    vocabulary: Path | None = None


@dataclass(frozen=True)
class BuildResult:
    out: Path
    manifest: Manifest


def run(job: BuildJob) -> BuildResult:
    """Builds records.

    Raises:
      TriptychError: what stands in the data folder or its spec cannot be built from.
    """
    if job.spec is None and job.data.is_dir() and not (job.data / SPEC_FILE).is_file():
        spec = infer_spec(job.data)
        say(f"{job.data} has no {SPEC_FILE}; this is what its files suggest (save it there to change it):\n")
        say(spec_to_yaml(spec))
    else:
        spec = load_spec(job.data, job.spec)
    settings = job.config.build

    def train_vocabulary(texts: object) -> list[str]:
        from towers.text import train_vocabulary as train  # keras-nlp: seconds to import, and only text needs it

        say(f"  training a WordPiece vocabulary of up to {settings.vocabulary_size:,} tokens")
        return train(texts, settings.vocabulary_size)  # type: ignore[arg-type]

    with ExitStack() as stack:
        manifest = builder.build(
            spec,
            job.data,
            job.out,
            seed=job.config.seed,
            max_bad=settings.max_bad,
            window=settings.window,
            overlap=settings.overlap,
            items_per_shard=settings.items_per_shard,
            examples_per_shard=settings.examples_per_shard,
            kind_options=settings.kinds,
            train_vocabulary=train_vocabulary,
            vocabulary_file=job.vocabulary,
            workers=settings.workers,
            progress=_stages(stack),
        )
    say(summary(manifest, job.out))
    return BuildResult(job.out, manifest)


def _stages(stack: ExitStack) -> Callable[[str, int, int], None]:
    """One progress bar after another, as the builder goes from stage to stage."""
    current: dict[str, Advance] = {}

    def tell(stage: str, done: int, total: int) -> None:
        if stage not in current:
            stack.close()
            current.clear()
            current[stage] = stack.enter_context(progress(stage, "records"))
        current[stage](done, total)

    return tell


def summary(manifest: Manifest, out: Path) -> str:
    """What was built, and what was not, in a few lines."""
    coverage = ", ".join(f"{name} {share:.1%}" for name, share in manifest.coverage.items()) or "no features"
    splits = ", ".join(f"{name} {split.events:,}" for name, split in manifest.splits.items())
    rejected = sum(manifest.rejected.values())
    lines = [
        f"Built {out}: {manifest.items:,} items ({coverage}), {manifest.users:,} users, "
        f"{manifest.interactions:,} interactions ({splits}); {manifest.protocol}.",
    ]
    if rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(manifest.rejected.items()))
        lines.append(f"Rejected {rejected:,}: {reasons}; each one is in {out / REJECTED_FILE}.")
    if manifest.used_in_part:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(manifest.used_in_part.items()))
        lines.append(f"Used as far as they go: {reasons}; each one is in {out / REJECTED_FILE}.")
    return "\n".join(lines)


if __name__ == "__main__":
    from pipelines.cli import step_main

    step_main("build")
