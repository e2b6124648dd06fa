"""Who may talk to whom, and who may do what, under the network policies and roles in deploy/kubernetes."""

from __future__ import annotations

from typing import Any

import pytest

from cryodask.cluster.kubernetes import DASHBOARD_PORT, SCHEDULER_PORT
from tests.deploy.network_policies import Pod, reaches
from tests.deploy.test_kubernetes_files import SITES, documents

OURS, OPERATORS = "cryodask", "dask-operator"
NAMESPACES = {name: {"kubernetes.io/metadata.name": name} for name in (OURS, OPERATORS, "others")}
WORKER_PORT = 40123
"""Workers and nannies listen on ports of the system's choice."""
SCHEDULER = Pod(OURS, {"dask.org/cluster-name": "cryodask", "dask.org/component": "scheduler"})
WORKER = Pod(OURS, {"dask.org/cluster-name": "cryodask", "dask.org/component": "worker"})
LEADER = Pod(OURS, {"app.kubernetes.io/name": "cryodask-leader"})
OPERATOR = Pod(OPERATORS, {"app.kubernetes.io/name": "dask-kubernetes-operator"})
NEIGHBOUR = Pod(OURS, {"app": "notebook"})
STRANGER = Pod("others", {"dask.org/cluster-name": "cryodask", "app.kubernetes.io/name": "cryodask-leader"})


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        (WORKER, SCHEDULER, SCHEDULER_PORT, True),
        (SCHEDULER, WORKER, WORKER_PORT, True),
        (WORKER, WORKER, WORKER_PORT, True),  # they fetch each other's results
        (LEADER, SCHEDULER, SCHEDULER_PORT, True),
        (LEADER, SCHEDULER, DASHBOARD_PORT, True),
        (OPERATOR, SCHEDULER, SCHEDULER_PORT, True),  # which worker to retire
        (OPERATOR, SCHEDULER, DASHBOARD_PORT, True),
        (OPERATOR, WORKER, WORKER_PORT, False),
        (OPERATOR, LEADER, SCHEDULER_PORT, False),
        (NEIGHBOUR, SCHEDULER, SCHEDULER_PORT, False),
        (NEIGHBOUR, SCHEDULER, DASHBOARD_PORT, False),
        (NEIGHBOUR, WORKER, WORKER_PORT, False),
        (STRANGER, SCHEDULER, SCHEDULER_PORT, False),  # labels of another namespace count for nothing
        (STRANGER, SCHEDULER, DASHBOARD_PORT, False),
        (STRANGER, WORKER, WORKER_PORT, False),
        (WORKER, LEADER, SCHEDULER_PORT, False),
        (NEIGHBOUR, LEADER, 22, False),
    ],
)
def test_who_reaches_whom(source: Pod, target: Pod, port: int, expected: bool) -> None:
    assert reaches(documents("network-policy.yaml"), source, target, port, NAMESPACES) is expected


def test_without_the_policies_all_doors_are_open() -> None:
    assert reaches([], STRANGER, SCHEDULER, SCHEDULER_PORT, NAMESPACES)


def test_the_ports_of_the_policy_are_the_schedulers() -> None:
    (ports,) = (rule["ports"] for p in documents("network-policy.yaml") for rule in p["spec"].get("ingress", [])
                if "ports" in rule)  # fmt: skip
    assert {entry["port"] for entry in ports} == {SCHEDULER_PORT, DASHBOARD_PORT}
    for name in SITES.values():
        (cluster,) = documents(name)
        (container,) = cluster["spec"]["scheduler"]["spec"]["containers"]
        assert {port["containerPort"] for port in container["ports"]} == {SCHEDULER_PORT, DASHBOARD_PORT}


def rules() -> list[dict[str, Any]]:
    (role,) = (resource for resource in documents("rbac.yaml") if resource["kind"] == "Role")
    found: list[dict[str, Any]] = role["rules"]
    return found


def test_the_leader_may_do_no_more_than_it_needs() -> None:
    kinds = {resource["kind"] for resource in documents("rbac.yaml")}
    assert kinds == {"ServiceAccount", "Role", "RoleBinding"}  # nothing for the whole Kubernetes cluster
    for rule in rules():
        assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])
        assert not {"secrets", "configmaps", "serviceaccounts", "pods/exec", "roles"} & set(rule["resources"])
        changes = {"create", "update", "patch", "delete", "deletecollection"} & set(rule["verbs"])
        assert not changes or rule["apiGroups"] == ["kubernetes.dask.org"]


def test_the_role_is_bound_to_the_leader_only_and_pods_of_the_cluster_have_no_account() -> None:
    account, role, binding = (
        next(resource for resource in documents("rbac.yaml") if resource["kind"] == kind)
        for kind in ("ServiceAccount", "Role", "RoleBinding")
    )
    assert binding["subjects"] == [{"kind": "ServiceAccount", **_names(account)}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False
    for name in SITES.values():
        (cluster,) = documents(name)
        for part in ("worker", "scheduler"):
            pod = cluster["spec"][part]["spec"]
            assert pod["automountServiceAccountToken"] is False
            assert pod.get("serviceAccountName") != account["metadata"]["name"]


def _names(resource: dict[str, Any]) -> dict[str, str]:
    return {key: resource["metadata"][key] for key in ("name", "namespace")}
