"""Model configurations in TensorFlow Serving's own format: version policies, labels, files, reload requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from curl import answered
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2
from toy_models import export_scale, place
from toy_server import Stubs, X, connected, eventually, predict_request, refused, running

from serving.server import sources
from serving.server.model_manager import VersionState
from serving.server.server import RestOptions
from serving.wire.errors import StartError

VERSIONS = {1: Path("1"), 2: Path("2"), 10: Path("10")}


def model(name: str, path: Path, more: str = "") -> str:
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'


def parsed(*models: str) -> Any:
    text = f"model_config_list {{ {' '.join(models)} }}"
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [10]),
        ("model_version_policy { latest {} }", [10]),
        ("model_version_policy { latest { num_versions: 2 } }", [2, 10]),
        ("model_version_policy { all {} }", [1, 2, 10]),
        ("model_version_policy { specific { versions: 2 versions: 1 versions: 7 } }", [1, 2]),
    ],
)
def test_the_version_policy_chooses_among_what_is_there(policy: str, versions: list[int]) -> None:
    (config,) = sources.from_proto(parsed(model("m", Path("/models/m"), policy)))
    assert list(config.policy(VERSIONS)) == versions


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([model("m", Path("/a")), model("m", Path("/b"))], "Illegal to list model m multiple times in config list"),
        (
            ['config { name: "m" base_path: "/a" }'],
            "Illegal setting neither ModelServerConfig::model_type .*, model name is m",
        ),
        (
            ['config { name: "m" base_path: "/a" model_platform: "other" }'],
            "Model m requests unsupported platform other",
        ),
        ([model("m", Path("a"))], r"Expected model m to have an absolute path or URI; got base_path\(\)=a"),
    ],
)
def test_what_tensorflow_serving_refuses_is_refused_in_its_words(models: list[str], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        sources.from_proto(parsed(*models))


def test_a_wrong_file_is_one_line_that_says_where(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    for text, message in (
        (
            "model_config_list {\n  confg {}\n}\n",
            r'models.config: Error parsing text-format tensorflow.serving.ModelServerConfig: 2:3: .*no field named "confg"',
        ),
        ("", "models.config: no model_config_list"),
        (f"model_config_list {{ {model('m', Path('a'))} }}", "models.config: Expected model m"),
    ):
        file.write_text(text)
        with pytest.raises(StartError, match=message):
            sources.config_file_source(file, poll_seconds=0)()
    with pytest.raises(StartError, match=r"cannot read .*nowhere"):
        sources.config_file_source(tmp_path / "nowhere", poll_seconds=0)()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1, 2 and 3 of a model; each multiplies by its own number plus 1."""
    saved, base = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("models") / "scale"
    for version in (1, 2, 3):
        place(export_scale(saved / str(version), version + 1.0), base, version)
    return base


def factor(stubs: Stubs, name: str, *, version: int | None = None, label: str = "") -> float:
    request = predict_request(name, "", version, x=X)
    if label:
        request.model_spec.version_label = label
    return float(tf.make_ndarray(stubs.prediction.Predict(request, timeout=30).outputs["factor"]))


CANARY = """
model_version_policy { specific { versions: 1 versions: 3 } }
version_labels { key: "stable" value: 1 }
version_labels { key: "canary" value: 3 }
"""


def test_several_models_with_policies_and_labels_are_served_from_a_file(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    second = model("second", base, "model_version_policy { all {} }")
    file.write_text(f"model_config_list {{ {model('first', base, CANARY)} {second} }}")
    rest = RestOptions(0, 30.0, None)
    source = sources.config_file_source(file, poll_seconds=0)
    with running(source, rest=rest) as server, connected(server) as stubs:
        assert server.models.available() == [("first", 3), ("first", 1), ("second", 3), ("second", 2), ("second", 1)]
        assert [factor(stubs, "first"), factor(stubs, "first", version=1)] == [4.0, 2.0]
        assert [factor(stubs, "first", label=label) for label in ("stable", "canary")] == [2.0, 4.0]
        assert refused(lambda: factor(stubs, "first", version=2))[0] == "NOT_FOUND"
        assert refused(lambda: factor(stubs, "second", label="stable")) == (
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: stable",
        )
        by_label = answered(server, "/v1/models/first/labels/stable:predict", data={"inputs": [[1, 2]]})
        assert by_label["outputs"]["y"] == [[2.0, 4.0]]
        status = answered(server, "/v1/models/first/labels/canary")
        assert [entry["version"] for entry in status["model_version_status"]] == ["3"]


def test_a_file_that_changes_is_read_again_and_a_broken_one_changes_nothing(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {model('first', base)} }}")
    reports: list[str] = []
    with running(sources.config_file_source(file, poll_seconds=0.01), reports) as server:
        file.write_text("model_config_list {")
        eventually(lambda: any("models.config: Error parsing" in line for line in reports))
        assert server.models.available() == [("first", 3)]
        file.write_text(f"model_config_list {{ {model('other', base)} }}")
        eventually(lambda: server.models.available() == [("other", 3)])


def test_a_model_whose_folder_is_missing_does_not_stop_the_others(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {model('ghost', tmp_path / 'ghost')} {model('real', base)} }}")
    reports: list[str] = []
    with running(sources.config_file_source(file, poll_seconds=0), reports) as server:
        assert server.models.available() == [("real", 3)]
        eventually(lambda: sum("cannot look for versions of ghost" in line for line in reports) == 1)
        real, problem = server.describe()
        assert real == f"real  version 3  {server.address}"
        assert problem.startswith("cannot look for versions of ghost (")


def reload(stubs: Stubs, *models: str) -> Any:
    request = model_management_pb2.ReloadConfigRequest(config=parsed(*models))
    return stubs.model.HandleReloadConfigRequest(request, timeout=60)


def test_a_reload_request_changes_models_versions_and_labels(base: Path) -> None:
    with running(base) as server, connected(server) as stubs:
        assert server.models.available() == [("scale", 3)]
        answer = reload(stubs, model("scale", base, "model_version_policy { all {} }"), model("copy", base))
        assert (answer.status.error_code, answer.status.error_message) == (0, "")
        assert server.models.available() == [("copy", 3), ("scale", 3), ("scale", 2), ("scale", 1)]
        reload(stubs, model("scale", base, CANARY))
        assert factor(stubs, "scale", label="stable") == 2.0
        eventually(
            lambda: stubs.states("scale") == {3: VersionState.AVAILABLE, 2: VersionState.END, 1: VersionState.AVAILABLE}
        )
        assert refused(lambda: factor(stubs, "copy"))[0] == "NOT_FOUND"


def test_a_reload_request_that_cannot_be_met_changes_nothing(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with running(base) as server, connected(server) as stubs:
        label = 'version_labels { key: "next" value: 7 }'
        for models, status in (
            (
                [model("scale", base, label)],
                (
                    "FAILED_PRECONDITION",
                    "Request to assign label to version 7 of model scale, which is not currently available for "
                    "inference",
                ),
            ),
            (
                [model("scale", tmp_path / "no")],
                ("INVALID_ARGUMENT", f"Could not find base path {tmp_path / 'no'} for servable scale"),
            ),
            (
                [model("scale", base), model("scale", base)],
                ("INVALID_ARGUMENT", "Illegal to list model scale multiple times in config list"),
            ),
        ):
            assert refused(lambda models=models: reload(stubs, *models)) == status  # type: ignore[misc]
            assert server.models.available() == [("scale", 3)]
        call = stubs.model.HandleReloadConfigRequest
        assert refused(lambda: call(model_management_pb2.ReloadConfigRequest())) == (
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported",
        )
        assert refused(lambda: reload(stubs, model("scale", base), model("new", tmp_path / "empty"))) == (
            "UNKNOWN",
            "Some models did not become available: {new}",
        )
        assert factor(stubs, "scale") == 4.0
