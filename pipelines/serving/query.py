"""`triptych query`: ask a served model, print what it answers with titles and reasons."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from pipelines.runs.progress import console, say
from serving.client.client import Client, Recommendation
from serving.wire import layout


@dataclass(frozen=True)
class QueryJob:
    """`models`: a folder with the served models, for titles; without it ids are printed."""

    target: str
    model: str
    history: tuple[str, ...]
    text: str
    k: int
    diversity: float
    categories: tuple[str, ...]
    timeout: float
    models: Path | None
    as_json: bool


def run(job: QueryJob) -> list[Recommendation]:
    """Recommendations from a served model.

    Raises:
      ServingError: the server does not answer, or refuses.
    """
    with Client(job.target, job.model, timeout=job.timeout) as client:
        found = client.recommend(
            history_ids=job.history,
            query=job.text,
            k=job.k,
            diversity=job.diversity,
            categories=job.categories,
        )
    titles = read_titles(job.models, job.model)
    if job.as_json:
        say(json.dumps([to_json(item, titles) for item in found], ensure_ascii=False))
    else:
        console.print(table(found, titles))
    return found


def read_titles(models: Path | None, name: str) -> dict[str, str]:
    """Item id -> title of the newest version in a models folder; {} where that is not known."""
    if models is None:
        return {}
    version = layout.latest_version(models / name)
    return layout.titles(models / name / str(version))


def to_json(item: Recommendation, titles: dict[str, str]) -> dict[str, Any]:
    """A recommendation as plain JSON values."""
    weights = item.modality_weights
    row = asdict(item) | {"modality_weights": None if weights is None else [round(float(w), 4) for w in weights]}
    return row | ({"title": titles[item.id]} if item.id in titles else {})


def table(found: list[Recommendation], titles: dict[str, str], modalities: tuple[str, ...] = ()) -> Table:
    """Recommendations for people: rank, title, labels, what spoke for each."""
    labels = sorted({name for item in found for name in item.labels})
    result = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("", "item", *labels, "because of", *(["carried by"] if modalities else [])):
        result.add_column(header, justify="right" if header in ("", *labels) else "left", overflow="fold")
    for rank, item in enumerate(found, start=1):
        carried = []
        if modalities and item.modality_weights is not None:
            shares = sorted(zip(item.modality_weights, modalities, strict=True), reverse=True)
            carried = [", ".join(f"{name} {share:.0%}" for share, name in shares if share >= 0.005)]
        result.add_row(
            str(rank),
            titles.get(item.id, item.id),
            *(f"{item.labels[name]:.2f}" for name in labels),
            titles.get(item.because_id, item.because_id) or "-",
            *(carried or ([""] if modalities else [])),
        )
    return result
