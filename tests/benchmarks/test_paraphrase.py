"""The paraphraser that text queries are measured with."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.text.paraphrase import Paraphraser, changed_fraction, read_synonyms

CORPUS = ["the detective walks in a town", "when two men find gold", "a ghost and the robbers of a bank"]


@pytest.fixture(scope="module")
def paraphrase() -> Paraphraser:
    return Paraphraser(CORPUS, read_synonyms())


def test_no_name_is_left(paraphrase: Paraphraser) -> None:
    plain = paraphrase.without_names("Robert Kincaid (Clint Eastwood) meets Francesca's husband in New York.")
    assert plain == "someone meets someone husband in somewhere ."


def test_a_first_word_is_a_name_only_where_it_is_never_in_lower_case(paraphrase: Paraphraser) -> None:
    assert paraphrase.without_names("When gold").split()[0] == "when"
    assert paraphrase.without_names("Gilmore walks").split()[0] == "someone"


def test_synonyms_keep_their_endings() -> None:
    table = read_synonyms()
    assert [table[form] for form in ("kill", "kills", "killed", "killing")] == ["slay", "slays", "slayed", "slaying"]
    assert (table["detectives"], table["families"]) == ("sleuths", "clans")


def test_a_sentence_is_turned_round_and_said_in_other_words(paraphrase: Paraphraser) -> None:
    assert paraphrase("A detective walks in a town, and the robbers kill a man.") == (
        "that thieves slay one gentleman one sleuth walks in one municipality"
    )


def test_what_changed_is_the_share_of_content_words() -> None:
    assert changed_fraction("The old man walks", "one elderly gentleman walks", ["the"]) == pytest.approx(2 / 3)
    assert np.isnan(changed_fraction("the", "that", ["the"]))
