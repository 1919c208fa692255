"""Pictures and sounds of items, and nothing else of the disk."""

from __future__ import annotations

from pathlib import Path

TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
}


def locate(root: Path, relative: str) -> tuple[Path, str] | None:
    """The file that a catalogue's row names, and its media type.

    None where there is none, where it lies outside `root` once all links are followed (a row may say `../../etc/passwd`,
    and a file in the folder may be a link there), and where it is neither picture nor sound by its suffix.
    """
    if "\0" in relative:
        return None
    try:
        path = (root / relative).resolve()
        inside = path.is_relative_to(root.resolve()) and path.is_file()
    except (OSError, RuntimeError):  # too long a name; links in a circle
        return None
    kind = TYPES.get(path.suffix.lower())
    return (path, kind) if inside and kind else None
