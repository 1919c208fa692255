"""The Markdown that people read, and the code in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
RUNNABLE = "<!-- runnable -->"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `runnable`: marked by the comment `<!-- runnable -->` on the line before it."""

    page: str
    line: int
    language: str
    text: str
    runnable: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page of the repository but the changelog, which names what is no more."""
    single = [
        "README.md",
        "CONTRIBUTING.md",
        "saved_models/README.md",
        "serving/app/API.md",
        "serving/deploy/README.md",
    ]
    return [*(REPO / name for name in single), *sorted((REPO / "docs").rglob("*.md"))]


def blocks() -> list[Block]:
    """Every fenced block of every page."""
    result = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            before = text[: match.start()]
            name, line = str(page.relative_to(REPO)), before.count("\n") + 1
            result.append(Block(name, line, match[1], match[2], before.rstrip("\n").endswith(RUNNABLE)))
    return result


def code_spans(page: Path) -> list[str]:
    """The inline code of a page, line breaks as blanks."""
    text = _COMMENT.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    return [" ".join(match[1].split()) for match in _SPAN.finditer(text)]


def shell_lines(text: str) -> list[str]:
    """Commands of a shell block: continued lines joined, comments and empty lines left out."""
    joined = text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]
