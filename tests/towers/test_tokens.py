"""Token ids of texts in many scripts are the same on every stack (TensorFlow Text 2.20 changed its tokenizer)."""

from __future__ import annotations

import pytest
import tensorflow as tf
from layer_cases import TEXT_OPTIONS, TEXT_SCHEMA

from towers.encoders.text import TextEncoder

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "sat",
    "##s",
    "un",
    "##aff",
    "##able",
    "caf",
    "##e",
    "naive",
    "grosse",
    "привет",
    "мир",
    "红",
    "茶",
    "カ",
    "##ッ",
    "##フ",
    "서울",
    "##역",
    "नम",
    "##स्ते",
    "ก",
    "##า",
    ",",
    ".",
    "!",
    "'",
    "-",
    "🍵",
    "istanbul",
    "12",
    "##3",
    "ﬁ",
]
# text, tokens of an uncased vocabulary, tokens of a cased one; between [CLS] and [SEP].
CASES = [
    ("The cats sat.", "the cat ##s sat .", "[UNK] cat ##s sat ."),
    ("UNAFFABLE naïve!", "un ##aff ##able naive !", "[UNK] [UNK] !"),
    ("café cafe\u0301", "caf ##e caf ##e", "[UNK] [UNK]"),
    ("Große, grosse", "[UNK] , grosse", "[UNK] , grosse"),
    ("Привет, мир", "привет , мир", "[UNK] , мир"),
    ("红茶", "红 茶", "红 茶"),
    ("カッフ", "カ ##ッ ##フ", "カ ##ッ ##フ"),
    ("서울역", "[UNK]", "서울 ##역"),
    ("नमस्ते", "[UNK]", "नम ##स्ते"),
    ("กา", "ก ##า", "ก ##า"),
    ("🍵 tea", "🍵 [UNK]", "🍵 [UNK]"),
    ("ISTANBUL İstanbul", "istanbul istanbul", "[UNK] [UNK]"),
    ("123 12", "12 ##3 12", "12 ##3 12"),
    ("ﬁ", "ﬁ", "ﬁ"),
    ("it's-the\u00a0cat\u200b \tsat\n", "[UNK] ' [UNK] - the cat sat", "[UNK] ' [UNK] - the cat sat"),
    ("[SEP]", "[UNK] [UNK] [UNK]", "[UNK] [UNK] [UNK]"),
    ("x" * 200, "[UNK]", "[UNK]"),
    ("", "", ""),
]


@pytest.mark.parametrize("lowercase", [True, False])
def test_texts_of_many_scripts_have_these_tokens(lowercase: bool) -> None:
    encoder = TextEncoder(TEXT_SCHEMA, VOCABULARY, **{**TEXT_OPTIONS, "lowercase": lowercase, "max_tokens": 12})
    token_ids = encoder.preprocess(tf.constant([text for text, *_ in CASES])).numpy()
    tokens = [" ".join(VOCABULARY[token] for token in row if token) for row in token_ids]
    expected = [uncased if lowercase else cased for _, uncased, cased in CASES]
    assert tokens == [f"[CLS] {text} [SEP]".replace("  ", " ") for text in expected]
