"""Tokens (RFC 6750) that open a server. No TensorFlow: the app takes the same ones."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.wire.errors import StartError


@dataclass(frozen=True)
class Tokens:
    """Any of these opens; there is at least one."""

    accepted: Sequence[str] = field(repr=False)

    def allow(self, header: str) -> bool:
        """Whether an `authorization` header has one of them. Takes as long for a near miss as for any other."""
        scheme, _, token = header.partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(given, accepted.encode()) for accepted in self.accepted]
        return scheme.lower() == "bearer" and any(matches)


def read_tokens(path: Path) -> Tokens:
    """A file with one token a line: two while one replaces the other. Raises StartError."""
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
