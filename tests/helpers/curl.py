"""curl, as people call a REST API from a shell."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from serving.server.server import Server


def curl(server: Server, path: str, *options: str, data: Any = None) -> tuple[int, str]:
    """Status and body; `data` is posted as JSON, or as it is where it is text."""
    if data is not None:
        options = (*options, "--data-binary", data if isinstance(data, str) else json.dumps(data))
    command = ["curl", "--silent", "--show-error", "--path-as-is", "--max-time", "60", "--write-out", "\n%{http_code}"]
    done = subprocess.run(
        [*command, *options, f"http://{server.rest_address}{path}"], capture_output=True, text=True, check=True
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def answered(server: Server, path: str, *options: str, data: Any = None) -> Any:
    """The object of a request that succeeds."""
    status, body = curl(server, path, *options, data=data)
    assert status == 200, body
    return json.loads(body)


def refused_by_rest(server: Server, path: str, *options: str, data: Any = None) -> tuple[int, str]:
    """Status and message of a request that fails; the body holds nothing else."""
    status, body = curl(server, path, *options, data=data)
    assert status != 200, body
    document = json.loads(body)
    assert list(document) == ["error"]
    return status, document["error"]
