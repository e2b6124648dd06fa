"""Kubernetes: the resource that would be created holds before the operator's schema and Kubernetes' own."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import yaml

from cryodask.cluster import ClusterSpec, connect
from cryodask.cluster.kubernetes import dask_cluster
from cryodask.cluster.site import KubernetesSite
from cryodask.errors import ClusterError, ConfigError

GPU_SITE = KubernetesSite(
    name="gpus", namespace="cryo", gpus=1, volume_claim="data", service_account="cryodask", processors=4
)


def spec(site: KubernetesSite) -> ClusterSpec:
    return ClusterSpec(kind="kubernetes", site=site, workers=3, memory_limit_bytes=8 * 2**30)


def check_pod(pod: dict[str, Any]) -> None:
    """Kubernetes' own schema, nothing beyond it allowed."""
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    named = [{**container, "image": container["image"]} for container in pod["containers"]]
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {**pod, "containers": named}}
    validate.validate(whole, "1.30", strict=True)


def check_dask_cluster(manifest: dict[str, Any]) -> None:
    """The operator's schema, from the package that brings the operator."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    pytest.importorskip("dask_kubernetes", reason="dask-kubernetes is not installed")
    charts = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    definition = yaml.safe_load((charts / "crds" / "daskcluster.yaml").read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    jsonschema.validate(manifest, closed(schema))
    assert manifest["apiVersion"] == f"{definition['spec']['group']}/{version['name']}"


def closed(schema: Any) -> Any:  # noqa: ANN401  (JSON)
    """The schema with unknown keys refused below ``spec``: the API server would drop them without a word."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    known = schema.get("properties")
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(known, dict) and not open_ended and "spec" not in known:
        inner["additionalProperties"] = False
    return inner


@pytest.mark.parametrize("site", [KubernetesSite(), GPU_SITE], ids=["cpu", "gpu"])
def test_the_resource_is_valid(site: KubernetesSite) -> None:
    manifest = dask_cluster(spec(site))
    check_dask_cluster(manifest)
    for part in ("worker", "scheduler"):
        check_pod(manifest["spec"][part]["spec"])


def test_the_validation_can_fail() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    manifest = dask_cluster(spec(GPU_SITE))
    manifest["spec"]["worker"]["spec"]["containers"][0]["argz"] = []
    with pytest.raises(jsonschema.ValidationError):
        check_dask_cluster(manifest)


def test_gpus_go_to_workers_only_and_commands_exist() -> None:
    manifest = dask_cluster(spec(GPU_SITE))
    worker, scheduler = (manifest["spec"][part]["spec"]["containers"][0] for part in ("worker", "scheduler"))
    assert worker["resources"]["limits"] == {"cpu": "4", "memory": "8192Mi", "nvidia.com/gpu": "1"}
    assert "nvidia.com/gpu" not in scheduler["resources"]["limits"]
    assert worker["args"][:3] == ["dask", "cuda", "worker"]
    assert {"name": "CRYODASK_DEVICE", "value": "cuda"} in worker["env"]
    assert scheduler["args"][:2] == ["dask", "scheduler"]
    assert dask_cluster(spec(KubernetesSite()))["spec"]["worker"]["spec"]["containers"][0]["args"][:2] == [
        "dask",
        "worker",
    ]
    cpu = dask_cluster(spec(KubernetesSite()))["spec"]["worker"]["spec"]["containers"][0]
    assert "CRYODASK_DEVICE" not in [variable["name"] for variable in cpu["env"]]
    assert manifest["spec"]["worker"]["replicas"] == 3


def test_pods_may_only_compute() -> None:
    manifest = dask_cluster(spec(GPU_SITE))
    for part in ("worker", "scheduler"):
        pod = manifest["spec"][part]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ConfigError, match="--workers N"):
        dask_cluster(ClusterSpec(kind="kubernetes", memory_limit_bytes=2**30))
    with pytest.raises(ConfigError, match="--memory-limit"):
        dask_cluster(ClusterSpec(kind="kubernetes", workers=1))


def test_no_cluster_to_talk_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:  # noqa: ANN401
    pytest.importorskip("dask_kubernetes", reason="dask-kubernetes is not installed")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match=r"no Dask cluster could be started.*kubectl"), connect(spec(GPU_SITE)):
        pass
