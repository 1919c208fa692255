"""The terms of a text, for exact matching: words, their beginnings, and runs of letters, hashed; plain TensorFlow ops."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

KINDS = ("word", "prefix", "gram")

# Scripts that put no spaces between words. The long vowel mark of kana belongs to no script of its own.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\x{30FC}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WIDTH_FORMS = r"\x{FF00}-\x{FFEF}"  # full-width Latin letters and digits, half-width kana and Hangul
_CUT = "\x1f"  # white space to `str.split`


def extract_terms(texts: tf.Tensor, *, buckets: int, prefix: int, gram: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Extract every occurrence of the terms of texts, of three kinds.

    A word matches only itself; its first letters match its other forms, which for most languages does what a stemmer
    does (truncation: Frakes, 1992, "Stemming algorithms"); runs of letters match what is spelt or compounded otherwise
    (McNamee and Mayfield, 2004, "Character n-gram tokenization for European language text retrieval"). Case and accents do
    not count. In scripts without spaces two neighbouring characters are a word and a single one is a run (Nie, Gao, Zhang
    and Zhou, 2000, "On the use of words and n-grams for Chinese information retrieval"); their marks count.

    Args:
      texts: string [B], UTF-8.
      buckets: of the hash of each kind; kind number i has the terms i * buckets to (i + 1) * buckets - 1.
      prefix: letters of a beginning; shorter words are their own.
      gram: letters of a run; shorter words are their own.

    Returns:
      row int64 [P], which text; term int64 [P]. A term that occurs twice in a text is returned twice.
    """
    folded = tf_text.case_fold_utf8(texts)
    has_forms = tf.strings.regex_full_match(folded, f"(?s).*[{_UNSPACED}{_WIDTH_FORMS}].*")
    folded = tf.where(has_forms, tf_text.normalize_utf8(folded, "NFKC"), folded)

    spaced = tf_text.normalize_utf8(tf.strings.regex_replace(folded, f"[{_UNSPACED}]+", " "), "NFD")
    spaced = tf.strings.regex_replace(spaced, r"\p{Mn}+", "")
    words = tf.strings.split(tf.strings.regex_replace(spaced, r"[^\p{L}\p{N}]+", " "))
    row, word = words.value_rowids(), words.flat_values
    grams = _ngrams(tf.strings.unicode_split(word, "UTF-8"), gram)

    unspaced = tf.strings.regex_replace(folded, f"[^{_UNSPACED}]+", " ")
    runs = tf.strings.split(tf.strings.regex_replace(unspaced, r"[^\p{L}\p{N}\p{M}]+", " "))
    characters = tf.strings.unicode_split(runs.flat_values, "UTF-8")
    pairs = _ngrams(characters, 2)

    kinds = (
        ("word", row, word),
        ("prefix", row, tf.strings.substr(word, 0, prefix, unit="UTF8_CHAR")),
        ("gram", tf.gather(row, grams.value_rowids()), grams.flat_values),
        ("word", tf.gather(runs.value_rowids(), pairs.value_rowids()), pairs.flat_values),
        ("gram", tf.gather(runs.value_rowids(), characters.value_rowids()), characters.flat_values),
    )
    terms = [tf.strings.to_hash_bucket_fast(value, buckets) + KINDS.index(kind) * buckets for kind, _, value in kinds]
    return tf.concat([rows for _, rows, _ in kinds], axis=0), tf.concat(terms, axis=0)


def _ngrams(letters: tf.RaggedTensor, width: int) -> tf.RaggedTensor:
    """Runs of `width` letters of words [W, letters]; shorter words are their own."""
    return tf.RaggedTensor.from_row_splits(
        *tf.raw_ops.StringNGrams(
            data=letters.flat_values,
            data_splits=letters.row_splits,
            separator="",
            ngram_widths=[width],
            left_pad="",
            right_pad="",
            pad_width=0,
            preserve_short_sequences=True,
        )
    )


def cut_into_words(texts: Sequence[str]) -> list[str]:
    """Put a mark behind every two characters in scripts without spaces, so that `str.split` gives something like words.

    `without_cuts` takes the marks out again. Texts in other scripts come back as they are.
    """
    spaced = tf.strings.regex_replace(tf.constant(list(texts), tf.string), _CUT, " ")
    cut = tf.strings.regex_replace(spaced, f"([{_UNSPACED}]{{1,2}})", rf"\1{_CUT}")
    return [text.decode() for text in cut.numpy()]


def without_cuts(text: str) -> str:
    """Take out the marks of `cut_into_words`; white space becomes single blanks."""
    return " ".join(text.replace(_CUT, "").split())


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
