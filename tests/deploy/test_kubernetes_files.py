"""deploy/kubernetes: every file holds before Kubernetes' schema or the operator's, and says what the code makes."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cryodask.cli import _main
from cryodask.cluster import ClusterSpec
from cryodask.cluster.kubernetes import API_VERSION, USER_ID, dask_cluster
from cryodask.cluster.site import KubernetesSite, read_site
from tests.cluster.test_kubernetes import check_dask_cluster, check_pod

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy" / "kubernetes"
PAGE = REPOSITORY / "docs" / "how-to" / "kubernetes.md"
SITES = {"site.yaml": "daskcluster-cpu.yaml", "site-gpu.yaml": "daskcluster-gpu.yaml"}
PLAIN = ("namespace.yaml", "volume-claim.yaml", "rbac.yaml", "network-policy.yaml", "leader-job.yaml")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def test_every_file_is_tested() -> None:
    names = {path.name for path in DEPLOY.iterdir()}
    assert names == {*PLAIN, *SITES, *SITES.values(), "operator-values.yaml"}


@pytest.mark.parametrize("name", PLAIN)
def test_resources_are_valid(name: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for resource in documents(name):
        validate.validate(resource, "1.30", strict=True)


@pytest.mark.parametrize(("site", "name"), SITES.items())
def test_dask_clusters_are_what_describe_prints(site: str, name: str) -> None:
    chosen = read_site(DEPLOY / site, "kubernetes")
    assert isinstance(chosen, KubernetesSite)
    made = dask_cluster(ClusterSpec(kind="kubernetes", site=chosen, workers=4))
    (written,) = documents(name)
    assert written == made, f"cryodask cluster describe --cluster kubernetes --cluster-config {site} --workers 4"
    check_dask_cluster(written)
    for part in ("worker", "scheduler"):
        check_pod(written["spec"][part]["spec"])


def test_namespaces_names_and_users_agree() -> None:
    (namespace,) = documents("namespace.yaml")
    everything = [resource for name in (*PLAIN[1:], *SITES.values()) for resource in documents(name)]
    assert {resource["metadata"]["namespace"] for resource in everything} == {namespace["metadata"]["name"]}
    (claim,) = documents("volume-claim.yaml")
    (job,) = documents("leader-job.yaml")
    pod = job["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [claim["metadata"]["name"]]
    assert pod["serviceAccountName"] in [r["metadata"]["name"] for r in documents("rbac.yaml")]
    assert pod["securityContext"]["runAsUser"] == USER_ID
    policies = yaml.safe_dump(documents("network-policy.yaml"))
    assert job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] in policies


def test_the_leader_may_make_what_it_makes() -> None:
    role = next(resource for resource in documents("rbac.yaml") if resource["kind"] == "Role")
    rule = next(rule for rule in role["rules"] if rule["apiGroups"] == [API_VERSION.partition("/")[0]])
    assert {"create", "get", "delete", "patch"} <= set(rule["verbs"])
    assert "daskclusters" in rule["resources"]
    assert not any("*" in rule["verbs"] or "secrets" in rule["resources"] for rule in role["rules"])


def test_the_leaders_command_exists() -> None:
    (job,) = documents("leader-job.yaml")
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[:3] == ["cryodask", "batch", "run"]
    run: click.Command = _main.cli.commands["batch"].load().commands["run"].load()  # type: ignore[attr-defined]
    known = {name for option in run.params for name in option.opts}
    assert {word for word in arguments if word.startswith("-")} <= known


def test_helm_values_are_the_charts() -> None:
    pytest.importorskip("dask_kubernetes", reason="dask-kubernetes is not installed")
    chart = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    known = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    (ours,) = documents("operator-values.yaml")

    def compare(value: Any, default: Any, path: str) -> None:  # noqa: ANN401  (YAML)
        if isinstance(value, dict) and default:
            for key, inner in value.items():
                assert key in default, f"{path}.{key} is no value of the chart"
                compare(inner, default[key], f"{path}.{key}")

    compare(ours, known, "")


def helm(*arguments: str) -> str:
    if shutil.which("helm") is None:
        pytest.skip("helm is not installed (.ci/fetch_helm.py fetches it)")
    chart = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    command = ["helm", *arguments, str(chart), "--values", str(DEPLOY / "operator-values.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_helm_has_nothing_to_say() -> None:
    pytest.importorskip("dask_kubernetes", reason="dask-kubernetes is not installed")
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict")


def test_what_helm_would_install_is_valid_and_has_our_limits() -> None:
    pytest.importorskip("dask_kubernetes", reason="dask-kubernetes is not installed")
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    resources = [r for r in yaml.safe_load_all(helm("template", "dask-operator", "--namespace", "dask-operator")) if r]
    for resource in resources:
        validate.validate(resource, "1.30", strict=True)
    (deployment,) = (r for r in resources if r["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (ours,) = documents("operator-values.yaml")
    assert container["resources"] == ours["resources"]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_files_that_the_page_applies_exist_in_an_order_that_works() -> None:
    text = PAGE.read_text(encoding="utf-8")
    applied = re.findall(r"kubectl apply -f deploy/kubernetes/([\w.-]+)", text)
    assert applied[0] == "namespace.yaml"
    assert set(applied) <= {path.name for path in DEPLOY.iterdir()}
    assert set(PLAIN) <= set(applied)
