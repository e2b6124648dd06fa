"""docs/how-to/kubernetes.md against a real API server and the real operator; pods are processes of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.cluster.kubernetes_machine import Kubernetes, running_kubernetes, why_not
from tests.faults.conftest import SEARCH, SMALL, call

pytest.importorskip("dask_kubernetes", reason="dask-kubernetes is not installed")

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
NAMESPACE = ("--namespace", "cryodask")
AS_LEADER = "--as=system:serviceaccount:cryodask:cryodask-leader"


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_kubernetes(tmp_path_factory.mktemp("kubernetes")) as machine:
        for name in ("namespace.yaml", "volume-claim.yaml", "rbac.yaml", "network-policy.yaml"):
            machine.call("apply", "--validate=false", "-f", str(DEPLOY / name))
        yield machine


@pytest.mark.slow
def test_the_server_takes_what_we_write_as_it_is(kubernetes: Kubernetes) -> None:
    """Nothing that we set is dropped: a key that the operator's definition lacks would be gone without a word."""
    for name in ("daskcluster-cpu.yaml", "daskcluster-gpu.yaml"):
        made = json.loads(kubernetes.call("create", "--dry-run=server", "--validate=false", "-o", "json", "-f",
                                          str(DEPLOY / name)))  # fmt: skip
        assert lacking(yaml.safe_load((DEPLOY / name).read_text()), made) == []
    for name, kind in (("network-policy.yaml", "networkpolicies"), ("rbac.yaml", "roles")):
        stored = {item["metadata"]["name"]: item for item in kubernetes.get(kind, *NAMESPACE)["items"]}
        for resource in yaml.safe_load_all((DEPLOY / name).read_text()):
            if resource["metadata"]["name"] in stored and resource["kind"] in ("NetworkPolicy", "Role"):
                assert lacking(resource, stored[resource["metadata"]["name"]]) == []


@pytest.mark.slow
def test_the_server_takes_what_helm_renders(kubernetes: Kubernetes) -> None:
    program = shutil.which("helm")
    if program is None:
        pytest.skip("helm is not installed (.ci/fetch_helm.py fetches it)")
    chart = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    values = ("--values", str(DEPLOY / "operator-values.yaml"))
    kubernetes.call("create", "namespace", "dask-operator")
    command = [program, "template", "dask-operator", str(chart), "--namespace", "dask-operator", *values]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    made = kubernetes.call("create", "--namespace", "dask-operator", "--dry-run=server", "-f", "-", text=rendered)
    kinds = {line.partition("/")[0] for line in made.splitlines()}
    assert {"deployment.apps", "clusterrole.rbac.authorization.k8s.io", "serviceaccount"} <= kinds


def lacking(ours: Any, theirs: Any, path: str = "") -> list[str]:  # noqa: ANN401  (JSON)
    """Where ``theirs`` has not what ``ours`` has."""
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            return [path]
        return [p for key, value in ours.items() for p in lacking(value, theirs.get(key), f"{path}.{key}")]
    if isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            return [path]
        return [p for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) for p in lacking(a, b, f"{path}[{i}]")]
    return [] if ours == theirs else [f"{path}: {ours!r} became {theirs!r}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("create", "daskclusters.kubernetes.dask.org", True),
        ("delete", "daskclusters.kubernetes.dask.org", True),
        ("list", "pods", True),
        ("get", "pods/log", True),
        ("create", "pods", False),
        ("create", "pods/exec", False),
        ("get", "secrets", False),
        ("create", "rolebindings.rbac.authorization.k8s.io", False),
    ],
)
def test_what_the_leader_may_do(kubernetes: Kubernetes, verb: str, resource: str, allowed: bool) -> None:
    answer = kubernetes.try_call("auth", "can-i", verb, resource, *NAMESPACE, AS_LEADER).stdout.strip()
    assert answer == ("yes" if allowed else "no")
    elsewhere = kubernetes.try_call("auth", "can-i", verb, resource, "--namespace", "default", AS_LEADER)
    assert elsewhere.stdout.strip() == "no"


@pytest.mark.slow
def test_a_batch_loses_a_worker_and_its_leader_goes_on_and_leaves_nothing_behind(kubernetes: Kubernetes) -> None:
    data = kubernetes.data
    made = call("simulate", "-o", data / "data.zarr", "--models", "3", "--seed", "5", "--cluster", "sync", *SMALL)
    assert made.exit_code == 0, made.output
    (data / "session.csv").write_text("tilt_series\ndata.zarr\n")
    (data / "site.yaml").write_text((DEPLOY / "site.yaml").read_text().replace("memory: 4GiB", "memory: 1GiB"))
    (job,) = yaml.safe_load_all((DEPLOY / "leader-job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["args"] = [*container["args"][:-1], "2", *SEARCH]
    kubernetes.call("create", "--validate=false", "-f", "-", text=json.dumps(job))

    journal = data / "session" / "journal.jsonl"
    kubernetes.wait_for(lambda: journal.exists() and '"done"' in journal.read_text(), 120)
    (cluster,) = kubernetes.get("daskclusters", *NAMESPACE)["items"]
    assert cluster["spec"]["worker"]["replicas"] == 2
    workers = ("-l", "dask.org/component=worker")
    victim = kubernetes.get("pods", *NAMESPACE, *workers)["items"][0]["metadata"]["name"]
    kubernetes.call("delete", "pod", victim, *NAMESPACE, "--wait=false")
    (leader,) = [
        p
        for p in psutil.process_iter(["cmdline"])
        if p.info["cmdline"] and str(data / "session.csv") in p.info["cmdline"]
    ]
    leader.kill()

    kubernetes.wait_for(lambda: kubernetes.get("jobs", *NAMESPACE)["items"][0]["status"].get("succeeded") == 1, 180)
    logs = sorted(kubernetes.folder.glob("pod-cryodask-batch-*.log"), key=lambda path: path.stat().st_mtime)
    assert len(logs) == 2
    assert "3 tomograms: 3 done, 0 failed" in logs[-1].read_text(), logs[-1].read_text()
    kubernetes.wait_for(lambda: kubernetes.get("daskclusters", *NAMESPACE)["items"] == [], 60)
    kubernetes.wait_for(lambda: kubernetes.get("pods", *NAMESPACE, *workers)["items"] == [], 60)
