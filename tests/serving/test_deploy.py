"""The Kubernetes manifests parse and their parts fit each other; no cluster is involved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from pipelines.cluster.tf_config import read_cluster
from pipelines.config import load_config
from pipelines.training.joining import check_divisible
from pipelines.training.trainer import Trainer
from serving.server.config_files import read_prometheus_path
from tfrecs.errors import SpecError, WorkersError

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


def test_the_parts_of_the_training_job_fit_each_other_and_each_pod_reads_its_tf_config() -> None:
    text = (FOLDER / "train-workers.yaml").read_text(encoding="utf-8")
    parts: dict[str, Any] = {part["kind"]: part for part in yaml.safe_load_all(text)}
    assert set(parts) == {"Service", "Job"}
    job, service = parts["Job"], parts["Service"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == spec["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert rule["onExitCodes"]["values"] == [SpecError.exit_status]
    assert WorkersError.exit_status not in rule["onExitCodes"]["values"]
    names = [variable["name"] for variable in container["env"]]
    assert names == ["INDEX", "TF_CONFIG"]  # Kubernetes puts only earlier variables into a value
    for index in range(spec["completions"]):
        cluster = read_cluster(container["env"][1]["value"].replace("$(INDEX)", str(index)))
        assert cluster.index == index
        assert len(cluster.addresses) == spec["completions"]
        host = f"{job['metadata']['name']}-{index}.{service['metadata']['name']}"
        assert cluster.addresses[index] == f"{host}:{container['ports'][0]['containerPort']}"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    changes = [value for argument in container["args"] if (value := argument.removeprefix("--set=")) != argument]
    check_divisible(load_config(None, changes), Trainer.batch_options, spec["completions"])
