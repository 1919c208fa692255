"""The demo catalogue: short films with descriptions, posters and sound, and what their public makes of them."""

from tfrecs.demo.folder import generate
from tfrecs.demo.world import oracle_scores

__all__ = ["generate", "oracle_scores"]
