"""docs/how-to/kubernetes.md against a real API server and the real operator; pods are processes of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.cluster.kubernetes_machine import Kubernetes, commands, running_kubernetes, why_not
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
def test_helm_has_installed_the_operator_with_our_values(kubernetes: Kubernetes) -> None:
    """By the page's own command, before the other tests of this file, whose clusters this operator makes."""
    listed = json.loads(kubernetes.shell("helm list --namespace dask-operator --output json").stdout)
    assert [(release["name"], release["status"]) for release in listed] == [("dask-operator", "deployed")]
    (deployment,) = kubernetes.get("deployments", "--namespace", "dask-operator")["items"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == yaml.safe_load((DEPLOY / "operator-values.yaml").read_text())["resources"]


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

    kubernetes.wait_for(lambda: list(kubernetes.folder.glob("pod-cryodask-batch-*.log")), 60)
    block = commands(containing="kubectl apply -f deploy/kubernetes/leader-job.yaml")
    (follow,) = (line for line in block.splitlines() if " logs " in line)
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(kubernetes.shell, follow)
        lead_and_lose(kubernetes)
        seen = followed.result()
    first, last = sorted(kubernetes.folder.glob("pod-cryodask-batch-*.log"), key=lambda path: path.stat().st_mtime)
    assert "3 tomograms: 3 done, 0 failed" in last.read_text(), last.read_text()
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout == first.read_text() != ""
    kubernetes.wait_for(lambda: kubernetes.get("daskclusters", *NAMESPACE)["items"] == [], 60)
    workers = ("-l", "dask.org/component=worker")
    kubernetes.wait_for(lambda: kubernetes.get("pods", *NAMESPACE, *workers)["items"] == [], 60)


def lead_and_lose(kubernetes: Kubernetes) -> None:
    """Wait for the batch to end, after a worker's pod was deleted and the leader killed in its midst."""
    data = kubernetes.data
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
