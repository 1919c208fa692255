"""Checkpoints of a run: everything is restored, or an error says why not, whatever the folder is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from pipelines.model.checkpoints import Checkpoints, restore_best
from pipelines.runs.run_folder import RunFolder
from serving.wire.plain_path import plain_path
from tfrecs.errors import DataError, TriptychError

REPO = Path(__file__).resolve().parents[2]
PATTERNS = {"run [1]": "run 1", "run*": "run2", "run?": "run3", "r[!x]n": "run", "exp [v1] *?": "exp v 4", "a\\b": "ab"}
"""Folder -> another one that its name, read as a pattern, would match."""


def module(**values: list[float]) -> tf.Module:
    result = tf.Module()
    for name, value in values.items():
        setattr(result, name, tf.Variable(value))
    return result


def saved(path: Path, **values: list[float]) -> RunFolder:
    run = RunFolder(path)
    Checkpoints(run.best, max_to_keep=1, model=module(**values)).save(1)
    return run


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_weights_of_the_best_epoch_come_back(tmp_path: Path) -> None:
    run, model = saved(tmp_path / "run", a=[1.0, 2.0], unused=[9.0]), module(a=[0.0, 0.0])
    restore_best(run, "train again", model=model)
    assert model.a.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("name", "other"), PATTERNS.items())
def test_a_path_that_tensorflow_takes_for_a_pattern_is_its_own_folder_only(
    name: str, other: str, tmp_path: Path
) -> None:
    neighbour = saved(tmp_path / other, a=[5.0])
    run = RunFolder(tmp_path / name)
    model = module(a=[0.0])
    checkpoints = Checkpoints(run.best, max_to_keep=2, model=model)
    for number in (1, 2, 3):
        model.a.assign([float(number)])
        checkpoints.save(number)
    kept = [f"ckpt-{number}.{part}" for number in (2, 3) for part in ("data-00000-of-00001", "index")]
    assert files(run.best) == ["checkpoint", *kept]
    assert files(neighbour.best) == ["checkpoint", "ckpt-1.data-00000-of-00001", "ckpt-1.index"]
    restore_best(run, "train again", model=model)
    assert model.a.numpy().tolist() == [3.0]
    # A later process finds the earlier checkpoints, deletes the oldest and keeps two.
    again = Checkpoints(run.best, max_to_keep=2, model=model)
    assert [again.restore(number, "train again") for number in (1, 2)] == [False, True]
    assert model.a.numpy().tolist() == [2.0]
    again.save(4)
    assert files(run.best) == ["checkpoint", *kept[2:], "ckpt-4.data-00000-of-00001", "ckpt-4.index"]


def test_a_run_that_was_moved_is_restored_from_where_it_is(tmp_path: Path) -> None:
    saved(tmp_path / "run [1]", a=[1.0]).path.rename(tmp_path / "run [2]")
    model = module(a=[0.0])
    restore_best(RunFolder(tmp_path / "run [2]"), "train again", model=model)
    assert model.a.numpy().tolist() == [1.0]


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint can be read there; train again"):
        restore_best(RunFolder(tmp_path / "empty"), "train again", model=module(a=[0.0]))


@pytest.mark.parametrize("model", [{"b": [0.0]}, {"a": [0.0]}], ids=["a weight it lacks", "a weight of another shape"])
@pytest.mark.parametrize("name", ["run", "run [1]"])
def test_weights_that_do_not_fit_the_model_are_an_error(
    name: str, model: dict[str, list[float]], tmp_path: Path
) -> None:
    run = saved(tmp_path / name, a=[1.0, 2.0])
    with pytest.raises(DataError, match=r"its weights do not fit this model \(.*\); train again"):
        restore_best(run, "train again", model=module(**model))


def test_going_on_needs_every_variable(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", a=[1.0, 2.0])
    with pytest.raises(DataError, match=r"run/best: its weights do not fit this model \(.*\); train into another"):
        Checkpoints(run.best, max_to_keep=1, model=module(a=[0.0, 0.0], b=[0.0])).restore(
            1, "train into another folder"
        )


# --- the links ---------------------------------------------------------------------------------------------------------


def test_a_plain_path_stays_as_it_is(tmp_path: Path) -> None:
    assert plain_path(tmp_path / "run {1}") == tmp_path / "run {1}"


def test_a_link_that_a_cleaner_of_temporary_files_removed_is_made_again(tmp_path: Path) -> None:
    link = plain_path(tmp_path / "run [1]")
    link.unlink()
    assert plain_path(tmp_path / "run [1]") == link
    assert link.is_symlink()


def test_links_go_with_the_process(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from serving.wire.plain_path import plain_path; "
    code += "print(plain_path(Path(sys.argv[1])))"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    arguments = [sys.executable, "-c", code, str(tmp_path / "run [1]")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment, cwd=REPO)
    assert Path(done.stdout.strip()).parent.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_where_no_link_can_be_made_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(TriptychError, match=r"run \[2\]: .* for a pattern, .* \(Operation not permitted\)$"):
        plain_path(tmp_path / "run [2]")
