"""Workers as pods of the Dask operator: one DaskCluster resource, removed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryodask.cluster.environment import worker_variables
from cryodask.cluster.session import Session
from cryodask.cluster.site import KubernetesSite
from cryodask.cluster.sizes import parse_size
from cryodask.cluster.spec import ClusterSpec
from cryodask.errors import ClusterError, ConfigError

API_VERSION = "kubernetes.dask.org/v1"
USER_ID = 1000
"""Of the images in deploy/docker; nothing in a pod runs as root."""
SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787
SCHEDULER_RESOURCES = {"cpu": "1", "memory": "2Gi"}
SCRATCH_SIZE = "20Gi"


@contextmanager
def open_kubernetes(spec: ClusterSpec) -> Iterator[Session]:
    """A DaskCluster for as long as the block runs. ClusterError where no cluster or operator answers."""
    from distributed import Client

    site = _site(spec)
    manifest = dask_cluster(spec)
    try:
        import kr8s
        from dask_kubernetes.operator import KubeCluster
    except ImportError as error:
        raise ClusterError("Kubernetes needs dask-kubernetes: pip install 'cryodask[kubernetes]'") from error
    try:
        kr8s.api().version()  # KubeCluster would leave half an object behind
        cluster = KubeCluster(
            custom_cluster_spec=manifest,
            namespace=site.namespace,
            quiet=True,
            resource_timeout=site.start_timeout_seconds,
            shutdown_on_close=True,  # also where it was there already: its leader had died, and this one goes on
        )
    except Exception as error:  # (kr8s, httpx and kubernetes each have their own)
        text = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"no Dask cluster could be started in namespace {site.namespace!r} ({text}); check `kubectl auth can-i "
            "create daskclusters`, and that the Dask operator runs"
        ) from error
    with cluster, Client(cluster) as client:
        yield Session(client=client, workers=_workers(spec), dashboard_link=cluster.dashboard_link)


def dask_cluster(spec: ClusterSpec) -> dict[str, Any]:
    """The DaskCluster resource that would be created; plain values. ConfigError for missing settings."""
    site = _site(spec)
    workers = _workers(spec)
    memory = spec.memory_limit_bytes or (parse_size(site.memory) if site.memory else None)
    if memory is None:
        raise ConfigError(
            "--cluster kubernetes needs the memory of a worker: give --memory-limit, or memory in its file"
        )
    limits: dict[str, Any] = {"cpu": str(site.processors), "memory": f"{memory // 2**20}Mi"}
    if site.gpus:
        limits["nvidia.com/gpu"] = str(site.gpus)
    return {
        "apiVersion": API_VERSION,
        "kind": "DaskCluster",
        "metadata": {"name": site.name, "namespace": site.namespace},
        "spec": {
            "idleTimeout": site.idle_timeout_seconds,
            "worker": {"replicas": workers, "spec": _pod(site, _worker(site, limits, memory))},
            # The operator's own template would give the scheduler the workers' GPUs too.
            "scheduler": {"spec": _pod(site, _scheduler(site)), "service": _service(site)},
        },
    }


def _site(spec: ClusterSpec) -> KubernetesSite:
    site = spec.site or KubernetesSite()
    assert isinstance(site, KubernetesSite)
    return site


def _workers(spec: ClusterSpec) -> int:
    if spec.workers is None:
        raise ConfigError("--cluster kubernetes needs to know how many workers to keep: give --workers N")
    return spec.workers


def _worker(site: KubernetesSite, limits: dict[str, Any], memory_bytes: int) -> dict[str, Any]:
    # The operator still defaults to dask-worker and dask-scheduler, which distributed no longer has.
    command = ["dask", "cuda", "worker"] if site.gpus else ["dask", "worker"]
    arguments = ["--name", "$(DASK_WORKER_NAME)", "--nthreads", "1", "--memory-limit", f"{memory_bytes}B"]
    arguments += ["--local-directory", "/scratch"]
    arguments += ["--resources", "GPU=1"] if site.gpus else []
    return {
        "name": "worker",
        "args": [*command, *arguments],
        "resources": {"limits": limits, "requests": dict(limits)},
        "env": [{"name": name, "value": value} for name, value in worker_variables(site.gpus).items()],
    }


def _scheduler(site: KubernetesSite) -> dict[str, Any]:
    probe = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    return {
        "name": "scheduler",
        "args": ["dask", "scheduler", "--host", "0.0.0.0", "--dashboard-address", f":{DASHBOARD_PORT}"],  # noqa: S104
        "resources": {"limits": dict(SCHEDULER_RESOURCES), "requests": dict(SCHEDULER_RESOURCES)},
        "ports": [
            {"name": "tcp-comm", "containerPort": SCHEDULER_PORT, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": DASHBOARD_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {**probe, "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 30},
        "livenessProbe": {**probe, "initialDelaySeconds": 30, "periodSeconds": 20},
    }


def _pod(site: KubernetesSite, container: dict[str, Any]) -> dict[str, Any]:
    """A pod that may do nothing but compute: no root, no capabilities, no token for the API, a read-only image."""
    volumes: list[dict[str, Any]] = [
        {"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
        {"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
    ]
    mounts = [{"name": "scratch", "mountPath": "/scratch"}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if site.volume_claim is not None:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": site.volume_claim}})
        mounts.append({"name": "data", "mountPath": site.mount_path})
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                **container,
                "image": site.image,
                "volumeMounts": mounts,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
        "volumes": volumes,
    }
    if site.service_account is not None:
        pod["serviceAccountName"] = site.service_account
    return pod


def _service(site: KubernetesSite) -> dict[str, Any]:
    ports = (("tcp-comm", SCHEDULER_PORT), ("http-dashboard", DASHBOARD_PORT))
    return {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": site.name, "dask.org/component": "scheduler"},
        "ports": [{"name": name, "protocol": "TCP", "port": port, "targetPort": name} for name, port in ports],
    }
