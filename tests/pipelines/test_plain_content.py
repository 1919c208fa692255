"""Plain content: terms, colours, edges and bands, and the similarity of items by them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from pipelines.item_item.content_similarity import content_similarity, standardised, tf_idf
from tfrecs.media.pictures import colours_and_edges
from tfrecs.media.sounds import band_levels


def test_tf_idf_by_hand() -> None:
    result = tf_idf([["a", "b", "a"], ["a", "b", "once"], ["b"]])
    # Terms a (2 of 3 documents) and b (3 of 3).
    a, b = 1 + np.log(4 / 3), 1.0
    first = np.array([(1 + np.log(2)) * a, b])
    np.testing.assert_allclose(result.toarray()[0], first / np.linalg.norm(first), rtol=1e-6)
    np.testing.assert_allclose(result.toarray()[2], [0, 1])
    assert result.shape == (3, 2)


def test_a_document_without_words_is_a_row_of_zeros() -> None:
    assert tf_idf([[], ["a"], ["a"]]).toarray().tolist() == [[0], [1], [1]]


def test_standardised_rows_are_of_length_one_and_zero_where_missing() -> None:
    values = np.array([[1.0, 100.0], [3.0, 300.0], [7.0, 7.0]])
    result = standardised(values, np.array([True, True, False])).toarray()
    half = 0.5**0.5
    np.testing.assert_allclose(result, [[-half, -half], [half, half], [0, 0]], rtol=1e-6)


def test_pictures_are_told_by_colour_and_by_the_direction_of_edges() -> None:
    red = np.zeros((8, 8, 3))
    red[..., 0] = 255
    across = np.zeros((8, 8, 3))
    across[:, 4:] = 255
    found = colours_and_edges(np.stack([red, across, across.transpose(1, 0, 2)]))
    assert found[0, 3 * 16] == 1.0  # all pixels in the reddest of the colours
    assert found[0, 64:].sum() == 0.0  # and no edge
    np.testing.assert_allclose(found[1, :64], found[2, :64])  # half black and half white
    np.testing.assert_allclose(found[1, 64:].reshape(16, 9).sum(axis=0), [1, *[0] * 8], atol=1e-9)
    np.testing.assert_allclose(found[2, 64:].reshape(16, 9).sum(axis=0), [0, 0, 0, 0, 1, 0, 0, 0, 0], atol=1e-9)


def test_sounds_are_told_by_pitch_and_loudness() -> None:
    seconds = np.arange(8000) / 16000
    low, high = (np.sin(2 * np.pi * pitch * seconds) for pitch in (200, 4000))
    found = band_levels(np.stack([low, 0.1 * low, high]))
    bands = found.shape[1] // 2
    assert found[0, :bands].argmax() == found[1, :bands].argmax() < found[2, :bands].argmax()
    assert found[0, :bands].max() > found[1, :bands].max()


def test_similarity_is_the_mean_cosine_and_missing_content_is_similar_to_none() -> None:
    text = sp.csr_matrix([[1.0, 0.0], [0.6, 0.8], [0.0, 0.0]])
    image = sp.csr_matrix([[1.0], [1.0], [1.0]])
    np.testing.assert_allclose(
        content_similarity({"text": text, "image": image}), [[1, 0.8, 0.5], [0.8, 1, 0.5], [0.5, 0.5, 0.5]]
    )
