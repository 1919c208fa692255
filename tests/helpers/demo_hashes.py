"""Generates a small demo catalogue and prints the SHA-256 of its parts: run in processes of other numeric kernels."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from tfrecs.demo import generate

PARTS = ("items.jsonl", "interactions.csv", "truth.npz", "dataset.yaml", "images/*", "audio/*")


def part_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the names and bytes of the files of each part, in the order of their names."""
    hashes = {}
    for part in PARTS:
        digest = hashlib.sha256()
        for path in sorted(folder.glob(part)):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        hashes[part] = digest.hexdigest()
    return hashes


def small(out: Path) -> Path:
    """Generate the catalogue whose hashes the test holds. Several designs of centres of seed 2 are equally good."""
    return generate(out, seed=2, items=40, users=20, interactions=200)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        json.dump(part_hashes(small(Path(temporary) / "demo")), sys.stdout)
