"""Where things lie in a models folder: `<models>/<name>/<integer version>/`. No TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

EXTRA_FOLDER = "assets.extra"
DESCRIPTION_FILE = "triptych.json"
TITLES_FILE = "titles.json"
GATE_FILE = "gate.json"
WARMUP_FILE = "tf_serving_warmup_requests"


def latest_version(model: Path) -> int:
    """The newest integer version below a model's folder, 0 where there is none."""
    versions = [int(path.name) for path in model.glob("*") if path.name.isdigit() and path.is_dir()]
    return max(versions, default=0)


def titles(version: Path) -> dict[str, str]:
    """Item id -> title of an exported version; {} where it holds none."""
    path = version / EXTRA_FOLDER / TITLES_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
