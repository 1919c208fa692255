"""`triptych query`: query a served model and print its recommendations with titles and explanations."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from pipelines.runs.progress import console, say
from serving.client.client import Client, Recommendation
from serving.wire import layout
from serving.wire.errors import InvalidRequestError


@dataclass(frozen=True)
class QueryJob:
    """A query of a served model.

    Attributes:
      target: host:port of the server.
      model: name of the model.
      history: item ids, oldest first.
      text: text query; "" for none.
      k: number of items.
      diversity: 0 (relevance alone) to 1.
      categories: only items in one of these; empty for all items.
      timeout: seconds to wait for the answer.
      models: folder with the served models, for titles; None prints ids.
      as_json: print JSON and not a table.
    """

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
    """Query a served model and print the result.

    Raises:
      ServingError: the server does not answer, or refuses the request.
    """
    with Client(job.target, job.model, timeout=job.timeout) as client:
        if job.text and "search" not in client.metadata().signatures:
            raise InvalidRequestError(
                f"--text: {job.model} takes no text, since its items have neither a text nor titles; leave it away"
            )
        recommendations = client.recommend(
            history_ids=job.history,
            query=job.text,
            k=job.k,
            diversity=job.diversity,
            categories=job.categories,
        )
    titles = read_titles(job.models, job.model)
    if job.as_json:
        say(json.dumps([to_json(item, titles) for item in recommendations], ensure_ascii=False))
    else:
        console.print(table(recommendations, titles))
    return recommendations


def read_titles(models: Path | None, name: str) -> dict[str, str]:
    """Read the titles of the newest version in a models folder, item id -> title; {} if there are none."""
    if models is None:
        return {}
    version = layout.latest_version(models / name)
    return layout.titles(models / name / str(version))


def to_json(item: Recommendation, titles: dict[str, str]) -> dict[str, Any]:
    """Convert a recommendation to plain JSON values."""
    weights = item.modality_weights
    row = asdict(item) | {"modality_weights": None if weights is None else [round(float(w), 4) for w in weights]}
    return row | ({"title": titles[item.id]} if item.id in titles else {})


def table(recommendations: list[Recommendation], titles: dict[str, str], modalities: tuple[str, ...] = ()) -> Table:
    """Render recommendations as a table of rank, title, labels and explanation.

    Args:
      recommendations: the rows.
      titles: item id -> title; items without one are shown by id.
      modalities: names of the modality weights, shown in another column; () for none.
    """
    labels = sorted({name for item in recommendations for name in item.labels})
    result = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("", "item", *labels, "because of", *(["carried by"] if modalities else [])):
        result.add_column(header, justify="right" if header in ("", *labels) else "left", overflow="fold")
    for rank, item in enumerate(recommendations, start=1):
        weights = []
        if modalities and item.modality_weights is not None:
            pairs = sorted(zip(item.modality_weights, modalities, strict=True), reverse=True)
            weights = [", ".join(f"{name} {weight:.0%}" for weight, name in pairs if weight >= 0.005)]
        result.add_row(
            str(rank),
            titles.get(item.id, item.id),
            *(f"{item.labels[name]:.2f}" for name in labels),
            titles.get(item.because_id, item.because_id) or "-",
            *(weights or ([""] if modalities else [])),
        )
    return result
