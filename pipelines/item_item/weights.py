"""The weights of the hybrid score as a run folder keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.item_item.statistics import Linear
from pipelines.runs.run_folder import write_text
from tfrecs.errors import DataError

HYBRID_FILE = "hybrid.json"
_SAID = (("Recall@20", "recall@20"), ("NDCG@10", "ndcg@10"))


@dataclass(frozen=True)
class Blend:
    """What was learned.

    Attributes:
      regularization: of the linear model behind the neighbours; `content`: how much likeness counts in it.
      weights: name of the part -> weight, none negative.
      new_weights: the same for items that nothing was counted of, and their `towers.hybrid.BIAS`.
      softness: name of the links -> see `towers.hybrid.HybridScore`.
      steps: the parts as they were added one by one: `parts`, `loss` (cross-entropy in nats) and the validation metrics.
    """

    regularization: float
    weights: Mapping[str, float]
    new_weights: Mapping[str, float]
    steps: Sequence[Mapping[str, object]]
    content: float = 0.0
    softness: Mapping[str, float] = field(default_factory=dict)

    @property
    def linear(self) -> Linear:
        return Linear(self.regularization, self.content)

    def __str__(self) -> str:
        names = ", ".join(name for name, weight in self.weights.items() if weight)
        if not self.steps:
            return f"hybrid of {names}: no validation request to learn from"
        first, last = self.steps[0], self.steps[-1]
        said = [f"{label} {first[key]:.4f} -> {last[key]:.4f}" for label, key in _SAID]
        return f"hybrid of {names}: valid {'  '.join(said)}"

    def save(self, run: Path) -> None:
        write_text(run / HYBRID_FILE, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, run: Path) -> Blend | None:
        """None where the run has none."""
        path = run / HYBRID_FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); delete it and run triptych train again") from error
