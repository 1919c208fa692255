"""The terms of a text, for exact matching: words, their beginnings, and runs of letters, hashed; plain TensorFlow ops."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

KINDS = ("word", "prefix", "gram")


def extract_terms(texts: tf.Tensor, *, buckets: int, prefix: int, gram: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Extract every occurrence of the terms of texts, of three kinds.

    A word matches only itself; its first letters match its other forms, which for most languages does what a stemmer
    does (truncation: Frakes, 1992, "Stemming algorithms"); runs of letters match what is spelt or compounded otherwise
    and languages written without spaces (McNamee and Mayfield, 2004, "Character n-gram tokenization for European
    language text retrieval"). Case and accents do not count.

    Args:
      texts: string [B], UTF-8.
      buckets: of the hash of each kind; kind number i has the terms i * buckets to (i + 1) * buckets - 1.
      prefix: letters of a beginning; shorter words are their own.
      gram: letters of a run; shorter words are their own.

    Returns:
      row int64 [P], which text; term int64 [P]. A term that occurs twice in a text is returned twice.
    """
    folded = tf_text.normalize_utf8(tf_text.case_fold_utf8(texts), "NFD")
    folded = tf.strings.regex_replace(folded, r"\p{Mn}+", "")
    folded = tf.strings.regex_replace(folded, r"[^\p{L}\p{N}]+", " ")
    words = tf.strings.split(folded)
    row, word = words.value_rowids(), words.flat_values
    letters = tf.strings.unicode_split(word, "UTF-8")
    grams = tf.RaggedTensor.from_row_splits(
        *tf.raw_ops.StringNGrams(
            data=letters.flat_values,
            data_splits=letters.row_splits,
            separator="",
            ngram_widths=[gram],
            left_pad="",
            right_pad="",
            pad_width=0,
            preserve_short_sequences=True,
        )
    )
    kinds = (
        (row, word),
        (row, tf.strings.substr(word, 0, prefix, unit="UTF8_CHAR")),
        (tf.gather(row, grams.value_rowids()), grams.flat_values),
    )
    terms = [tf.strings.to_hash_bucket_fast(value, buckets) + kind * buckets for kind, (_, value) in enumerate(kinds)]
    return tf.concat([rows for rows, _ in kinds], axis=0), tf.concat(terms, axis=0)


def unique_terms(row: tf.Tensor, term: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Remove repetitions of a term within a text.

    Args:
      row, term: see `extract_terms`.
      size: number of different terms there can be.

    Returns:
      the same without repetitions.
    """
    pair = tf.unique(row * size + term).y
    return pair // size, pair % size
