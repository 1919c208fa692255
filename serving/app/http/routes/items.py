"""Routes of items and their media files."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from serving.app.http.routes.parameters import require_token
from serving.app.schemas import Card, Id
from serving.app.state import AppState

_MEDIA_TYPES = {
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


def add_item_routes(app: FastAPI, state: AppState) -> None:
    """Add the routes to the application."""

    @app.get("/items/{item:path}/media/{feature}")
    async def media_file(item: Id, feature: str) -> FileResponse:
        """Return an image or audio file; `Range` is supported."""
        catalogue = state.engine.catalogue
        relative = catalogue.row(item).media.get(feature) if feature in catalogue.media else None
        located = None if relative is None else locate_media(catalogue.root, relative)
        if located is None:
            raise HTTPException(404, "no such item, or it has no such medium")
        path, media_type = located
        return FileResponse(path, media_type=media_type, headers={"cache-control": "max-age=3600"})

    @app.get("/items/{item:path}", dependencies=[require_token(state.options.read_tokens)])
    async def card(item: Id) -> Card:
        """Return the display data of an item."""
        if item not in state.engine.catalogue.position:
            raise HTTPException(404, "no such item")
        return state.engine.catalogue.cards([item])[0]


def locate_media(root: Path, relative: str) -> tuple[Path, str] | None:
    """Find a media file of the item table inside the data folder.

    Args:
      root: the data folder.
      relative: path from the item table; it may be hostile, such as `../../etc/passwd`.

    Returns:
      The resolved path and its media type. None if there is no such file, if it lies outside `root` after resolving
      links, or if its suffix is not that of an image or audio file.
    """
    if "\0" in relative:
        return None
    try:
        path = (root / relative).resolve()
        exists_inside = path.is_relative_to(root.resolve()) and path.is_file()
    except (OSError, RuntimeError):  # a name that is too long; a loop of links
        return None
    media_type = _MEDIA_TYPES.get(path.suffix.lower())
    return (path, media_type) if exists_inside and media_type else None
