"""Paths that TensorFlow takes for themselves. No TensorFlow."""

from __future__ import annotations

import atexit
import hashlib
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tfrecs.schema import TriptychError

_PATTERN = re.compile(r"[*?\[\\]")  # what makes a path a pattern to fnmatch(3)


def plain_path(folder: Path) -> Path:
    """Return a path to a folder that TensorFlow does not take for a pattern.

    Its functions for checkpoints and SavedModels match their paths as file name patterns. In a folder with one of [ * ? \\
    in its path they find nothing, or read and delete files of other folders. Such a folder is reached through a symbolic
    link, which stays until the process ends.

    Args:
      folder: an existing folder.

    Returns:
      `folder` itself, or the link to it.

    Raises:
      TriptychError: the path needs a link, and none can be made.
    """
    if not _PATTERN.search(str(folder)):
        return folder
    target = folder.absolute()
    try:
        link = _links() / hashlib.sha256(str(target).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        link.parent.mkdir(mode=0o700, exist_ok=True)  # a cleaner of old temporary files may have been there
        if not link.is_symlink():
            link.symlink_to(target, target_is_directory=True)
    except OSError as error:
        raise TriptychError(f"{folder}: {_REMEDY} ({error.strerror or error})") from error
    if _PATTERN.search(str(link)):
        raise TriptychError(f"{folder}: {_REMEDY} ({link.parent.parent} has one too)")
    return link


_REMEDY = (
    "TensorFlow takes a path with one of [ * ? \\ for a pattern, and no link to it can be made in the folder of "
    "temporary files; set TMPDIR to another one, or rename the folder"
)


@cache
def _links() -> Path:
    """The folder of this process's links."""
    folder = Path(tempfile.mkdtemp(prefix="triptych-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
