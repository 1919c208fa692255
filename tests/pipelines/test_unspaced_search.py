# ruff: noqa: RUF001 - full-width marks are meant
"""Lexical text search in scripts without spaces between words, beside English."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from pipelines.config import SearchConfig
from pipelines.search.lexical_fit import fit_lexical, fit_titles
from pipelines.search.lexical_index import LexicalIndex, term_counts
from pipelines.search.made_queries import self_queries
from serving.export_check.gate import unknown_ops
from serving.graph.lexical import LexicalSearch
from towers.terms import cut_into_words, without_cuts

SETTINGS = SearchConfig(queries=100, candidates=100)


def terms(text: str) -> set[int]:
    return set(term_counts([text], SETTINGS).indices.tolist())


def kinds(keys: set[int]) -> list[int]:
    """How many of the terms are words, beginnings, runs of letters."""
    return np.bincount([key // SETTINGS.buckets for key in keys], minlength=3).tolist()


# --- terms --------------------------------------------------------------------------------------------------------------


def test_neighbouring_characters_are_words_and_single_ones_are_runs() -> None:
    assert kinds(terms("锡兰红茶")) == [3, 0, 4]  # 锡兰 兰红 红茶
    assert kinds(terms("茶")) == [1, 0, 1]
    assert terms("锡兰红茶") == terms("锡兰") | terms("兰红") | terms("红茶")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("锡兰进口红茶礼盒套装", "红茶"),
        ("复古便携自行车限量版本", "自行车"),
        ("セイロン紅茶ギフトセット", "紅茶"),
        ("セイロン紅茶ギフトセット", "ギフト"),
        ("おいしい食べ物です", "食べ物"),
        ("ชาแดงนำเข้า", "ชา"),
        ("ຊາແດງນຳເຂົ້າ", "ຊາ"),
        ("តែក្រហមនាំចូល", "តែ"),
        ("တင်သွင်းလက်ဖက်ရည်", "လက်ဖက်"),
        ("ㄏㄨㄥˊ ㄔㄚˊ", "ㄔㄚ"),
    ],
)
def test_a_query_is_found_within_a_text_without_spaces(text: str, query: str) -> None:
    assert terms(query) <= terms(text)
    assert kinds(terms(query))[0] >= 1


def test_marks_of_these_scripts_count_where_accents_do_not() -> None:
    assert terms("ギフト") != terms("キフト")
    assert terms("ชาเย็น") != terms("ชาเยน")
    assert terms("café") == terms("cafe")


def test_scripts_are_told_apart_within_a_word() -> None:
    assert terms("红茶Tea礼盒2024年") == terms("红茶") | terms("tea") | terms("礼盒") | terms("2024") | terms("年")
    assert kinds(terms("红茶Tea")) == [2, 1, 3]


def test_wide_and_narrow_forms_are_the_same() -> None:
    assert terms("ｾｲﾛﾝ ｷﾞﾌﾄ") == terms("セイロン ギフト")
    assert terms("ＳＯＮＹ　ＷＨ－１０００") == terms("sony wh-1000")
    assert terms("红茶，礼盒。") == terms("红茶 礼盒")


def test_hangul_has_spaces_and_is_cut_as_other_words() -> None:
    assert kinds(terms("홍차")) == [1, 1, 2]  # its five letters are themselves a beginning, and two runs of four
    assert kinds(terms("홍차를") & terms("홍차")) == [0, 1, 2]


def test_other_scripts_have_the_terms_that_they_always_had() -> None:
    assert sorted(terms("Ab")) == [107806, 238878, 369950]  # as in models that are served: a word, a beginning, a run
    text = "The café's naïve ROBOTS, ½ ™ ﬁ — Straße, привет Ελλάδα हिन्दी العربية 한국어"
    counts = term_counts([text], SETTINGS)
    assert (counts.sum(), int(counts.data @ counts.indices)) == (65, 15_009_865)


# --- made queries -------------------------------------------------------------------------------------------------------


def test_two_characters_count_as_a_word_of_a_made_query() -> None:
    assert cut_into_words(["锡兰红茶x y", "plain words"]) == ["锡兰\x1f红茶\x1fx y", "plain words"]
    assert cut_into_words(["锡兰红 x"])[0].split() == ["锡兰", "红", "x"]
    assert without_cuts(cut_into_words(["锡兰红茶  x y"])[0]) == "锡兰红茶 x y"
    queries, owners = self_queries(["红茶质量很好。适合送给朋友！好。", "锡兰进口红茶礼盒套装红茶"])
    assert queries == ["红茶质量很好。", "适合送给朋友！", "锡兰进口红茶", "礼盒套装红茶"]
    assert owners.tolist() == [0, 0, 1, 1]


# --- precision ----------------------------------------------------------------------------------------------------------


class Language(NamedTuple):
    """Twelve subjects, five beginnings and five ends of a title, and how title and description are made of them."""

    subjects: str
    before: str
    after: str
    title: str
    description: str


LANGUAGES = {
    "English": Language(
        "blacktea greentea coffee camera earphones backpack umbrella watch piano guitar tent bicycle",
        "imported portable household professional colourful",
        "giftset bestseller limited recommended flagship",
        "{0} {1} {2}",
        "this is a popular {}, good quality, fit to give to friends.",
    ),
    "Chinese": Language(
        "红茶 绿茶 咖啡 相机 耳机 背包 雨伞 手表 钢琴 吉他 帐篷 自行车",
        "锡兰进口 复古便携 家用迷你 专业户外 儿童彩色",
        "礼盒套装 新款热卖 限量版本 入门推荐 旗舰组合",
        "{0}{1}{2}",
        "这是一款深受欢迎的{}，质量很好，适合送给朋友。",
    ),
    "Japanese": Language(
        "紅茶 緑茶 コーヒー カメラ イヤホン リュック 雨傘 腕時計 ピアノ ギター テント 自転車",
        "セイロン輸入 レトロ携帯 家庭用ミニ 屋外プロ 子供向け",
        "ギフトセット 新作人気 限定版 入門おすすめ 最上位組",
        "{0}{1}{2}",
        "これは人気の{}で、品質がよく、友達への贈り物に向いています。",
    ),
    "Thai": Language(
        "ชาแดง ชาเขียว กาแฟ กล้อง หูฟัง กระเป๋า ร่ม นาฬิกา เปียโน กีตาร์ เต็นท์ จักรยาน",
        "นำเข้า ย้อนยุค ในบ้าน กลางแจ้ง สำหรับเด็ก",
        "ชุดของขวัญ ขายดี รุ่นจำกัด แนะนำ ชุดใหญ่",
        "{1}{0}{2}",
        "สินค้าคุณภาพดีเหมาะเป็นของขวัญให้เพื่อน{}ที่ได้รับความนิยม",
    ),
}


def catalogue(language: Language) -> tuple[list[str], list[str], list[str]]:
    """Subjects [12]; titles and texts of five items of each [60], those of a subject together."""
    subjects = language.subjects.split()
    pairs = list(zip(language.before.split(), language.after.split(), strict=True))
    titles = [language.title.format(before, subject, after) for subject in subjects for before, after in pairs]
    about = [subject for subject in subjects for _ in pairs]
    texts = [f"{title} {language.description.format(subject)}" for title, subject in zip(titles, about, strict=True)]
    return subjects, titles, texts


def precision_at_5(index: LexicalIndex, queries: list[str]) -> float:
    best = np.argsort(-index(queries), axis=1, kind="stable")[:, :5]
    return float((best // 5 == np.arange(len(queries))[:, None]).mean())


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_items_of_a_subject_are_found_as_well_as_in_english(name: str) -> None:
    subjects, titles, texts = catalogue(LANGUAGES[name])
    silent = np.zeros([SETTINGS.queries, len(texts)], np.float32)
    fitted = fit_lexical(texts, lambda queries: silent[: len(queries)], SETTINGS, 0)
    assert precision_at_5(fitted.index(texts), subjects) >= 0.9  # chance is 5 / 60
    assert precision_at_5(fit_titles(titles, SETTINGS, 0).index(titles), subjects) >= 0.9


def test_the_graph_scores_as_python_does() -> None:
    subjects, _, texts = catalogue(LANGUAGES["Japanese"])
    silent = np.zeros([SETTINGS.queries, len(texts)], np.float32)
    fitted = fit_lexical(texts, lambda queries: silent[: len(queries)], SETTINGS, 0)
    index = fitted.index(texts)
    lexical = LexicalSearch(fitted.terms, index.postings(), len(texts), fitted.dense_weight)
    graph = tf.function(lexical.scores, input_signature=[tf.TensorSpec([None], tf.string)])
    queries = [*subjects, "ｷﾞﾀｰ", "紅茶 tea", ""]
    scores = graph(tf.constant(queries)).numpy()
    np.testing.assert_allclose(scores, index(queries), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scores[subjects.index("ギター")], scores[len(subjects)])
    definition = graph.get_concrete_function().graph.as_graph_def()
    ops = {node.op for node in definition.node} | {
        node.op for part in definition.library.function for node in part.node_def
    }
    assert "UnicodeDecode" in ops
    assert unknown_ops(ops) == []
