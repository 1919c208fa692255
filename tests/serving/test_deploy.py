"""The Kubernetes manifests parse and their parts fit each other; no cluster is involved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server.config_files import read_prometheus_path

FOLDER = Path(__file__).resolve().parents[2] / "serving" / "deploy" / "kubernetes"


@pytest.mark.parametrize("version", ["2.17", "2.19"])
def test_the_parts_of_a_manifest_fit_each_other(version: str, tmp_path: Path) -> None:
    text = (FOLDER / f"tensorflow-serving-{version}.yaml").read_text(encoding="utf-8")
    parts: dict[str, Any] = {part["kind"]: part for part in yaml.safe_load_all(text)}
    assert set(parts) == {"ConfigMap", "Deployment", "Service", "HorizontalPodAutoscaler"}
    spec = parts["Deployment"]["spec"]
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels == parts["Service"]["spec"]["selector"]
    target = parts["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", parts["Deployment"]["metadata"]["name"])
    assert "replicas" not in spec  # else every apply undoes the autoscaler's work
    (container,) = pod["containers"]
    assert container["image"].startswith(f"tensorflow/serving:{version}.")
    assert "cpu" in container["resources"]["requests"]  # what the autoscaler's percentage is of
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "http": 8501}
    assert {port["targetPort"] for port in parts["Service"]["spec"]["ports"]} == set(ports)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    files = parts["ConfigMap"]["data"]
    config = text_format.Parse(files["models.config"], model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": f"/v1/models/{model.name}/metadata", "port": "http"}
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text(files["monitoring.config"], encoding="utf-8")
    annotations = spec["template"]["metadata"]["annotations"]
    assert read_prometheus_path(monitoring) == annotations["prometheus.io/path"]
    given = {argument.partition("=")[2] for argument in container["args"] if argument.partition("=")[2].startswith("/")}
    assert given == {f"/config/{name}" for name in files}
