"""The bounded sample of test requests: a plain random draw, beside which rare kinds are filled up for their slices."""

from __future__ import annotations

import numpy as np

from pipelines.scoring.sampling import draw_sample, draw_some

RARE = {"cold": np.arange(1000) % 50 == 0, "new": np.arange(1000) >= 995}  # 20 and 5 of 1,000


def test_few_requests_are_taken_whole_whatever_the_seed() -> None:
    for seed in (0, 1):
        sample = draw_sample(1000, 1000, RARE, 100, seed)
        assert sample.chosen.tolist() == list(range(1000))
        assert sample.main.all()
        assert sample.slices["cold"].sum() == 20


def test_of_many_the_sample_has_the_size_asked_for_and_follows_the_seed() -> None:
    sample, again, other = (draw_sample(1000, 100, RARE, 0, seed) for seed in (3, 3, 4))
    assert len(sample.chosen) == sample.main.sum() == 100
    assert sample.total == 1000
    np.testing.assert_array_equal(sample.chosen, again.chosen)
    assert not np.array_equal(sample.chosen, other.chosen)
    # Slices that are not filled up are those of the sample.
    np.testing.assert_array_equal(sample.slices["cold"], RARE["cold"][sample.chosen])


def test_rare_kinds_are_filled_up_beside_the_sample() -> None:
    plain, filled = draw_sample(1000, 100, RARE, 0, 3), draw_sample(1000, 100, RARE, 12, 3)
    np.testing.assert_array_equal(filled.chosen[filled.main], plain.chosen)
    assert filled.slices["cold"].sum() == 12
    assert filled.slices["new"].sum() == 5  # there are no more
    assert all(RARE[name][filled.chosen[mask]].all() for name, mask in filled.slices.items())
    # Those of the sample are among them; a slice leaves out what was drawn for another one.
    in_main = RARE["cold"][filled.chosen] & filled.main
    assert (filled.slices["cold"] >= in_main).all()
    assert not (filled.slices["cold"] & ~RARE["cold"][filled.chosen]).any()


def test_every_request_of_a_filled_slice_is_as_likely_as_another() -> None:
    # Of 20 cold requests 8 are measured; ten of the 20 are of new users as well, who are all measured.
    rare = {"cold": np.arange(200) < 20, "new": np.arange(200) < 10}
    drawn = np.zeros(200)
    for seed in range(600):
        sample = draw_sample(200, 20, rare, 8, seed)
        drawn[sample.chosen[sample.slices["cold"]]] += 1
    share = drawn[:20] / 600
    assert drawn[20:].sum() == 0
    # 8 / 20 each, deviation .02; had the new users come with their own, the first ten would be far ahead.
    np.testing.assert_allclose(share, 0.4, atol=0.08)
    assert abs(share[:10].mean() - share[10:].mean()) < 0.03


def test_some_are_in_order_and_all_where_there_are_few() -> None:
    assert draw_some(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    some = draw_some(100, 10, 0)
    assert (np.diff(some) > 0).all()
    assert len(some) == 10
