"""The paired bootstrap over users, against cases whose interval is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.scoring.bootstrap import compare, interval, mean_interval, resample_counts, resampled_means


def test_a_resample_draws_as_many_users_as_there_are() -> None:
    drawn = resample_counts(7, 50, np.random.default_rng(1))
    assert drawn.shape == (50, 7)
    assert (drawn.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(drawn, resample_counts(7, 50, np.random.default_rng(1)))
    assert not np.array_equal(drawn, resample_counts(7, 50, np.random.default_rng(2)))
    # Each is drawn once on average: 50 draws of variance 6 / 7 each give a mean of 1 +- .13.
    np.testing.assert_allclose(drawn.mean(axis=0), 1.0, atol=0.5)


def test_resamples_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values, users = np.random.default_rng(0).random((30, 2)), np.repeat(np.arange(10), 3)
    whole = resampled_means(values, users, count=25, seed=4)
    monkeypatch.setattr("pipelines.scoring.bootstrap._BLOCK", 30)  # three at a time
    np.testing.assert_array_equal(resampled_means(values, users, count=25, seed=4), whole)


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    # 400 users of one request, a quarter of them hits: deviation sqrt(.25 * .75 / 400) = .02165.
    hits = (np.arange(400) % 4 == 0).astype(float)
    low, high = interval(resampled_means(hits[:, None], np.arange(400), count=4000, seed=0)[:, 0])
    assert (low, high) == pytest.approx((0.25 - 1.96 * 0.02165, 0.25 + 1.96 * 0.02165), abs=0.004)
    assert mean_interval(hits, 0, count=4000) == [round(float(low), 4), round(float(high), 4)]


def test_means_are_over_requests_and_pairs_cancel_what_users_have_in_common() -> None:
    # Users differ wildly, but ours is ahead by 0.1 on every single request: so it is in every resample.
    users = np.repeat(np.arange(20), 3)
    peer = np.repeat(np.arange(20) / 20.0, 3)
    found = compare(peer + 0.1, peer, users, count=300, seed=0)
    assert found.ours == pytest.approx(0.575)
    assert found.peer == pytest.approx(0.475)
    assert (found.difference, found.difference_low, found.difference_high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.ratio == pytest.approx(0.575 / 0.475)
    assert found.ratio_low < found.ratio < found.ratio_high


def test_a_constant_ratio_has_no_width() -> None:
    peer = np.array([0.1, 0.5, 0.2, 0.9])
    found = compare(1.05 * peer, peer, np.array(["a", "a", "b", "c"]), count=100, seed=0)
    assert (found.ratio_low, found.ratio, found.ratio_high) == pytest.approx((1.05, 1.05, 1.05))


def test_users_are_drawn_with_all_their_requests() -> None:
    # Two users: all draws are (both), (first twice) or (second twice), so the differences are 0, 1 or -1 alone, where
    # drawing the 200 requests one by one would give a normal distribution around 0 of deviation 0.07.
    users = np.repeat([0, 1], 100)
    found = compare(np.repeat([1.0, 0.0], 100), np.repeat([0.0, 1.0], 100), users, count=400, seed=0)
    assert (found.difference_low, found.difference, found.difference_high) == (-1.0, 0.0, 1.0)


def test_the_interval_is_that_of_the_normal_distribution_where_it_should_be() -> None:
    generator = np.random.default_rng(0)
    differences = generator.normal(0.02, 0.1, 2000)
    found = compare(0.5 + differences, np.full(2000, 0.5), np.arange(2000), count=2000, seed=3)
    half = 1.96 * differences.std() / np.sqrt(2000)
    assert found.difference_low == pytest.approx(differences.mean() - half, abs=0.1 * half)
    assert found.difference_high == pytest.approx(differences.mean() + half, abs=0.1 * half)


def test_nothing_to_compare_is_nan() -> None:
    found = compare(np.zeros(0), np.zeros(0), np.zeros(0, int), count=10, seed=0)
    assert np.isnan(found.difference_low)
    assert np.isnan(found.ratio)


def test_a_peer_that_finds_nothing_has_no_finite_ratio() -> None:
    found = compare(np.ones(3), np.zeros(3), np.arange(3), count=10, seed=0)
    assert found.ratio == np.inf
    assert found.difference_low == 1.0
    assert found.as_dict()["ratio"] is None
    assert found.as_dict()["difference"] == 1.0
