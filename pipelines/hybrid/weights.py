"""The fitted weights of the hybrid score, as a run folder keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.item_item.ease import EaseSettings
from pipelines.runs.run_folder import write_text
from tfrecs.errors import DataError

HYBRID_FILE = "hybrid.json"
_SHOWN = (("Recall@20", "recall@20"), ("NDCG@10", "ndcg@10"))
_FORMER_KEYS = {"new_weights": "cold_weights", "content": "content_weight"}  # of files that earlier versions wrote


@dataclass(frozen=True)
class HybridWeights:
    """What `pipelines.hybrid.fit` learned on the validation split; see `towers.hybrid.HybridScore`.

    Attributes:
      regularization: of the EASE model.
      weights: part of the score -> weight, at least 0.
      cold_weights: the same for cold items, and their `towers.hybrid.BIAS`.
      steps: the parts as they were added one by one: `parts`, `loss` (cross-entropy in nats) and validation metrics;
        `stage` names a step that added no part.
      content_weight: of the content similarity in the EASE model.
      softness: name of the links -> where their sum bends.
      exploration: rows of `pipelines.hybrid.cold_weights.exploration_curve`; none where nothing could be learned.
    """

    regularization: float
    weights: Mapping[str, float]
    cold_weights: Mapping[str, float]
    steps: Sequence[Mapping[str, object]]
    content_weight: float = 0.0
    softness: Mapping[str, float] = field(default_factory=dict)
    exploration: Sequence[Mapping[str, float]] = field(default_factory=list)

    @property
    def ease(self) -> EaseSettings:
        """Settings of the EASE model."""
        return EaseSettings(self.regularization, self.content_weight)

    def takes(self, part: str) -> bool:
        """Whether a part has a say in the score of any item."""
        return bool(self.weights.get(part) or self.cold_weights.get(part))

    def __str__(self) -> str:
        names = ", ".join(name for name, weight in self.weights.items() if weight)
        if not self.steps:
            return f"hybrid of {names}: no validation request to learn from"
        first, last = self.steps[0], self.steps[-1]
        metrics = [f"{label} {first[key]:.4f} -> {last[key]:.4f}" for label, key in _SHOWN]
        return f"hybrid of {names}: valid {'  '.join(metrics)}"

    def save(self, run: Path) -> None:
        """Write `hybrid.json` into a run folder."""
        write_text(run / HYBRID_FILE, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, run: Path) -> HybridWeights | None:
        """Read `hybrid.json` of a run folder; None where it has none.

        Raises:
          DataError: the file cannot be read.
        """
        path = run / HYBRID_FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8"), object_hook=_renamed))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); delete it and run triptych train again") from error


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    return {_FORMER_KEYS.get(key, key): value for key, value in values.items()}
