"""dataset.yaml: what it may say, and the one line that names what it says wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tfrecs.errors import DataError, SpecError
from tfrecs.spec.dataset_yaml import DatasetSpec, infer_spec, load_spec, spec_to_yaml

SMALL = """
name: shop
items: {file: items.csv, id: id, features: {text: {kind: text, column: title}}}
interactions: {file: events.csv, user: user, item: item, time: at}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")
    return folder


def test_reads_every_key_of_the_format(tmp_path: Path) -> None:
    spec = load_spec(
        written(
            tmp_path,
            """
            name: ml100k
            items:
              file: items.jsonl
              id: item_id
              title: title
              features:
                text: {kind: text, columns: [title, genres]}
                image: {kind: image, column: image, size: 96}
                timbre: {kind: vector, file: vggish.npy, row: feat_row}
            interactions:
              file: interactions.tsv
              user: user_id
              item: item_id
              time: timestamp
              labels:
                like: {column: rating, at_least: 4}
                rating: {column: rating, range: [1, 5]}
              positive: {column: rating, at_least: 4}
              context: [hour, device]
            users: {file: users.csv, id: user_id, features: {age: {kind: categories, column: age}}}
            split: {by: time, fractions: [0.7, 0.2, 0.1], cold_items: 0.1}
            oracle: oracle.npz
            """,
        ),
        None,
    )
    assert spec.items.features["image"].options == {"size": 96}
    assert spec.items.features["timbre"].table_columns == ("feat_row",)
    assert spec.interactions.labels["rating"].range == (1.0, 5.0)
    assert [spec.interactions.from_time(name) for name in spec.interactions.context] == [True, False]
    assert spec.effective_split.cold_items == 0.1
    assert spec.oracle == "oracle.npz"


@pytest.mark.parametrize(
    ("more", "column"),
    [
        ("", None),
        (", labels: {like: {column: stars, at_least: 4}}", "stars"),
        (", labels: {like: {column: stars, at_least: 4}}, positive: {column: plays, at_least: 1}", "plays"),
        (", value: seconds, positive: {column: plays, at_least: 1}", "seconds"),
    ],
)
def test_event_value_is_value_else_positive_else_first_label(tmp_path: Path, more: str, column: str | None) -> None:
    spec = load_spec(written(tmp_path, SMALL.replace("time: at", f"time: at{more}")), None)
    assert spec.interactions.value_column == column


def test_split_is_by_time_where_there_is_time_and_leave_last_where_not(tmp_path: Path) -> None:
    timed = load_spec(written(tmp_path, SMALL), None)
    untimed = load_spec(written(tmp_path, SMALL.replace(", time: at", "")), None)
    assert (timed.effective_split.by, untimed.effective_split.by) == ("time", "leave_last")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: text", "kind: pictures", ["items.features.text.kind", "'pictures'", "text, image, audio, vector"]),
        ("kind: text", "kind: imge", ["did you mean 'image'"]),
        ("column: title", "colum: title", ["items.features.text", "'colum'", "did you mean 'column'"]),
        (", column: title", "", ["items.features.text", "column, columns, file + row"]),
        ("column: title", "file: v.npy", ["items.features.text", "`row`"]),
        ("user: user", "usr: user", ["interactions.usr", "did you mean 'user'"]),
        ("user: user, ", "", ["interactions.user", "missing"]),
        ("name: shop", "nam: shop", ["nam", "did you mean 'name'"]),
        ("name: shop", "name: ../shop", ["name", "'../shop'"]),
        ("time: at", "time: at, labels: {ids: {column: a, at_least: 1}}", ["labels", "'ids'", "rename"]),
        ("time: at", "time: at, labels: {like: {column: a}}", ["labels.like", "at_least", "range"]),
        ("time: at", "time: at, labels: {like: {column: a, range: [5, 1]}}", ["labels.like", "low to high"]),
        ("time: at", "time: at, context: [k]", ["context", "'k'"]),
        ("time: at", "time: at, context: [a, a]", ["context", "twice"]),
        (", time: at}", "}\nsplit: {by: time}", ["interactions.time", "leave_last"]),
        (", time: at}", ", time: at}\nsplit: {by: tim}", ["split", "time, leave_last, column"]),
        (", time: at}", ", time: at}\nsplit: {by: time, fractions: [0.9, 0.2, 0.1]}", ["split.fractions", "sum to 1"]),
        (", time: at}", ", time: at}\nsplit: {by: time, fraction: [1, 0, 0]}", ["split.fraction", "'fractions'"]),
        (", time: at}", ", time: at}\nsplit: {by: leave_last, cold_items: 2}", ["split.cold_items", "less than 1"]),
        ("{text:", "{0text:", ["items.features", "'0text'", "letters"]),
    ],
)
def test_a_wrong_key_is_named_with_file_path_and_remedy(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in SMALL
    with pytest.raises(SpecError) as error:
        load_spec(written(tmp_path, SMALL.replace(old, new)), None)
    message = str(error.value)
    assert "\n" not in message
    for word in ["dataset.yaml", *words]:
        assert word in message


def test_unreadable_files_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"line 2, column \d+: not YAML"):
        load_spec(written(tmp_path, "name: x\nitems: [1"), None)
    with pytest.raises(SpecError, match="not list"):
        load_spec(written(tmp_path, "- 1"), None)
    with pytest.raises(SpecError, match=r"other\.yaml: cannot be read"):
        load_spec(tmp_path, tmp_path / "other.yaml")
    with pytest.raises(DataError, match="no such folder"):
        load_spec(tmp_path / "nowhere", None)
    (tmp_path / "dataset.yaml").write_bytes(b"name: \xff")
    with pytest.raises(SpecError, match="UTF-8"):
        load_spec(tmp_path, None)


def test_conventional_names_are_inferred_and_survive_the_way_through_yaml(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,0.5,7\n1,11,5.0,8\n")
    (tmp_path / "movies.csv").write_text(
        "movieId,title,genres,poster\n10,Heat,Action|Crime,a.jpg\n11,Big,Comedy,b.jpg\n"
    )
    spec = infer_spec(tmp_path)
    assert (spec.items.file, spec.items.id, spec.items.title) == ("movies.csv", "movieId", "title")
    assert {name: feature.kind for name, feature in spec.items.features.items()} == {
        "text": "text",
        "image": "image",
        "genres": "categories",
    }
    assert spec.items.features["genres"].options == {"separator": "|"}
    assert spec.interactions.labels["rating"].range == (0.5, 5.0)
    assert spec.interactions.labels["like"].at_least == 0.5 + 0.75 * 4.5
    assert spec.effective_split.by == "time"
    assert load_spec(tmp_path, None) == spec  # No dataset.yaml there: inferred as well.
    assert DatasetSpec.model_validate(yaml.safe_load(spec_to_yaml(spec))) == spec


def test_recbole_headers_are_understood(tmp_path: Path) -> None:
    (tmp_path / "toy.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ti\t3.0\n")
    (tmp_path / "toy.item").write_text(
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\tprice:float\tprofile:float_seq\n"
        "i\tOne Two\ta b\t1\t1 2\n"
    )
    (tmp_path / "toy.user").write_text("user_id:token\tage:token\nu\t30\n")
    spec = infer_spec(tmp_path)
    assert spec.interactions.time == "timestamp"
    assert {name: feature.kind for name, feature in spec.items.features.items()} == {
        "text": "text",
        "class": "categories",
        "price": "number",
        "profile": "vector",
    }
    assert spec.items.features["class"].options == {"separator": " "}
    assert spec.users is not None
    assert spec.users.features["age"].kind == "categories"


def test_a_folder_that_says_nothing_is_told_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no table named interactions"):
        infer_spec(tmp_path)
    (tmp_path / "interactions.csv").write_text("who,what\n1,2\n")
    (tmp_path / "items.csv").write_text("item_id,title\n2,x\n")
    with pytest.raises(SpecError, match=r"user id .* there are who, what"):
        infer_spec(tmp_path)


def test_the_examples_load() -> None:
    examples = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
    assert {"lfm2k.yaml", "ml100k.yaml", "ml1m.yaml"} <= {path.name for path in examples}
    for path in examples:
        assert load_spec(path.parent, path).name == path.stem
