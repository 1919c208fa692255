"""Business rules: what a file may say, what is refused in one line, and what each action does."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.app.ranking import rules
from serving.wire.errors import StartError

POSITION = {item: row for row, item in enumerate("abcd")}
CATEGORIES = {"Horror": np.array([0, 1])}
NUMBERS = {"year": np.array([1980.0, 1990.0, np.nan, 2000.0])}
TODAY = date(2026, 5, 1)


def resolved_rules(text: str) -> tuple[rules.ResolvedRule, ...]:
    return rules.resolve_rules(rules.parse_rules(text, "r.yaml"), POSITION, CATEGORIES, NUMBERS, "r.yaml")


def test_block_excludes_by_item_category_and_number() -> None:
    resolved = resolved_rules(
        "rules:\n- {name: one, action: block, items: [d]}\n- {name: old, action: block, where: {number: year, below: 1985}}"
    )
    assert rules.blocked_rows(resolved, TODAY, 4).tolist() == [True, False, False, True]


def test_boost_adds_and_bury_subtracts_its_weight() -> None:
    resolved = resolved_rules(
        "rules:\n- {name: up, action: boost, items: [c], weight: 2}\n"
        "- {name: down, action: bury, categories: [Horror], weight: 0.5}"
    )
    scores = rules.apply_weights(resolved, TODAY, np.array([2, 0, 3]), np.array([1.0, 1.0, 1.0]))
    assert scores.tolist() == [3.0, 0.5, 1.0]


def test_a_pinned_item_appears_once_at_its_position_if_allowed() -> None:
    resolved = resolved_rules("rules:\n- {name: first, action: pin, items: [d, c], position: 2}")
    everything, without_c = np.ones(4, bool), np.array([True, True, False, True])
    assert rules.apply_pins(resolved, TODAY, [0, 2, 1], everything, POSITION, 4) == [0, 3, 2, 1]
    assert rules.apply_pins(resolved, TODAY, [0, 1], without_c, POSITION, 2) == [0, 3]


def test_a_rule_is_active_from_its_first_to_its_last_day() -> None:
    text = "rules:\n- {name: may, action: block, items: [a], since: 2026-05-01, until: 2026-05-31}"
    resolved = resolved_rules(text)
    days = [date(2026, 4, 30), date(2026, 5, 1), date(2026, 5, 31), date(2026, 6, 1)]
    assert [bool(rules.blocked_rows(resolved, day, 4)[0]) for day in days] == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{name: x, action: block, items: [zzz]}]", "rule 'x': the catalogue has no item 'zzz'"),
        ("rules: [{name: x, action: block, categories: [Drama]}]", "rule 'x': the catalogue has no category 'Drama'"),
        ("rules: [{name: x, action: block, where: {number: age, below: 1}}]", "no number 'age'"),
        ("rules: [{name: x, action: hide, items: [a]}]", "rules.0.action"),
        ("rules: [{name: x, action: block}]", "rules.0: say which items"),
        ("rules: [{name: x, action: boost, items: [a]}]", "rules.0: boost and bury have a weight"),
        ("rules: [{name: x, action: pin, items: [a]}]", "rules.0: pin has items and a position"),
        ("rules: [{name: x, action: block, items: [a], wait: 1}]", "rules.0.wait"),
        (
            "rules: [{name: x, action: block, items: [a]}, {name: x, action: block, items: [b]}]",
            "two rules are named 'x'",
        ),
        ("- a", "a mapping with the one key `rules`"),
        ("rules: [", "r.yaml:1: not valid YAML"),
    ],
)
def test_an_invalid_rule_gives_one_line_that_names_it(text: str, message: str) -> None:
    with pytest.raises(StartError) as error:
        resolved_rules(text)
    assert message in str(error.value)
    assert str(error.value).startswith("r.yaml")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"none\.yaml: the rules cannot be read"):
        rules.read_rules(tmp_path / "none.yaml")


ANY = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10) | st.sampled_from(["block", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rules", "name", "action", "items", "weight", "where"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), ANY.map(lambda value: yaml.safe_dump(value, allow_unicode=True))))
def test_any_file_gives_rules_or_one_line(text: str) -> None:
    problem, found = "", ()
    try:
        found = rules.parse_rules(text, "r.yaml")
    except StartError as error:
        problem = str(error)
    assert bool(problem) == (problem.startswith("r.yaml") and "\n" not in problem)
    assert all(rule.items or rule.categories or rule.where for rule in found)
