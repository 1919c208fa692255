"""Bearer tokens (RFC 6750) of the servers. No TensorFlow: the app uses them too."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.wire.errors import StartError


@dataclass(frozen=True)
class Tokens:
    """The accepted tokens, at least one."""

    accepted: Sequence[str] = field(repr=False)

    def allow(self, header: str) -> bool:
        """Whether an `authorization` header has an accepted token. The time does not depend on how close a token is."""
        scheme, _, token = header.partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(given, accepted.encode()) for accepted in self.accepted]
        return scheme.lower() == "bearer" and any(matches)


def read_tokens(path: Path) -> Tokens:
    """Read a file with one token per line (two while one replaces the other). Raises StartError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"cannot read {path}: {error}") from error
    tokens = [line.strip() for line in lines if line.strip()]
    for number, line in enumerate(lines, 1):
        if not (line.isascii() and (line.isprintable() or not line.strip())) or " " in line.strip():
            raise StartError(f"{path}: line {number}: a token is printable ASCII without blanks; one a line")
    if not tokens:
        raise StartError(f"{path}: no token in it; write one a line")
    return Tokens(tuple(tokens))
