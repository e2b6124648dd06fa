"""A real Kubernetes API server with the real Dask operator, for tests: on loopback, its pods are processes.

The binaries are made once by ``.ci/kubernetes`` and kept outside the checkout.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.cluster.slurm_machine import free_port

BINARIES = Path(os.environ.get("CRYODASK_KUBERNETES_BIN", "~/.cache/cryodask/kubernetes")).expanduser()
NEEDED = ("kube-apiserver", "kube-controller-manager", "kubectl", "helm")
START_SECONDS = 60.0
TOKEN = "for-tests-only"
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"
STARTUP = '''\
"""Of every Python process of the cluster: a name service, and what newer API servers say."""
import os
import re
import socket

_ask = socket.getaddrinfo
_SERVICE = r"[a-z0-9-]+-scheduler\\.[a-z0-9-]+(\\.svc\\.cluster\\.local)?"


def getaddrinfo(host, *arguments, **options):
    """Services have loopback's address, since all pods are processes of this machine."""
    text = host.decode() if isinstance(host, bytes) else host
    known = isinstance(text, str) and re.fullmatch(_SERVICE, text)
    return _ask("127.0.0.1" if known else host, *arguments, **options)


socket.getaddrinfo = getaddrinfo

if os.environ.get("KUBECONFIG"):
    from kr8s._api import Api

    _resources = Api.async_api_resources_uncached

    async def named(self):
        """kr8s wants the singular names of resources, which API servers tell since 1.27."""
        return [{**r, "singularName": r["singularName"] or r["kind"].lower()} for r in await _resources(self)]

    Api.async_api_resources_uncached = named
'''


def why_not() -> str | None:
    """Why there can be no Kubernetes here; None if there can."""
    missing = [name for name in NEEDED if not (BINARIES / name).is_file()]
    if missing:
        return f"no {missing[0]} in {BINARIES}: .ci/kubernetes makes it, in some ten minutes"
    return None if shutil.which("etcd") else "no etcd (Debian: apt-get install etcd-server)"


@dataclass(frozen=True)
class Kubernetes:
    """A running API server with controllers, operator and a kubelet."""

    folder: Path
    environment: dict[str, str]

    @property
    def data(self) -> Path:
        """What pods see as /data."""
        return self.folder / "data"

    def call(self, *arguments: str, text: str | None = None) -> str:
        """What kubectl answers; AssertionError, with the logs, if it fails."""
        done = self.try_call(*arguments, text=text)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout.strip()

    def try_call(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(BINARIES / "kubectl"), *arguments]
        return subprocess.run(
            command, env=self.environment, input=text, capture_output=True, text=True, timeout=60, check=False
        )

    def shell(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Commands as a page tells them, run in the root of the repository."""
        command = ["bash", "-euo", "pipefail", "-c", commands]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.call("get", *arguments, "-o", "json"))
        return found

    def wait_for(self, happened: Callable[[], object], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, f"did not happen in {seconds} s{self.logs()}"
            time.sleep(0.3)

    def logs(self) -> str:
        paths = sorted(self.folder.glob("*.log"))
        return "".join(f"\n== {path.name}\n{path.read_text(errors='replace')[-2500:]}" for path in paths)


def kubeconfig(folder: Path, port: int, name: str, token: str) -> Path:
    """A configuration for one user; JSON is YAML."""
    path = folder / f"kubeconfig-{name}"
    server = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": server}],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": "default"}}],
                "current-context": "test",
            }
        )
    )
    path.chmod(0o600)
    return path


@contextmanager
def running_kubernetes(folder: Path) -> Iterator[Kubernetes]:
    """Kubernetes in ``folder``; all of its processes are gone at the end."""
    ports = {name: free_port() for name in ("etcd", "peer", "api", "controllers")}
    for name in ("data", "startup"):
        (folder / name).mkdir()
    (folder / "startup" / "sitecustomize.py").write_text(STARTUP)
    admin = kubeconfig(folder, ports["api"], "admin", TOKEN)
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
    subprocess.run(["openssl", "genrsa", "-out", "sa.key", "2048"], cwd=folder, check=True, capture_output=True)
    public = ["openssl", "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"]
    subprocess.run(public, cwd=folder, check=True, capture_output=True)
    search = os.pathsep.join((str(folder / "startup"), str(ROOT)))
    path = os.pathsep.join((str(Path(sys.executable).parent), str(BINARIES), os.environ.get("PATH", "")))
    environment = {**os.environ, "KUBECONFIG": str(admin), "PYTHONPATH": search, "PATH": path}
    environment.pop("KUBERNETES_SERVICE_HOST", None)
    kubernetes = Kubernetes(folder, environment)
    with ExitStack() as stack:
        stack.enter_context(_process("etcd", _etcd(ports), kubernetes))
        stack.enter_context(_process("apiserver", _api_server(ports), kubernetes))
        kubernetes.wait_for(lambda: kubernetes.try_call("get", "--raw", "/readyz").returncode == 0, START_SECONDS)
        stack.enter_context(_process("controllers", _controllers(ports, admin), kubernetes))
        kubelet = [sys.executable, "-m", "tests.cluster.process_kubelet", str(folder), str(ports["api"])]
        stack.enter_context(_process("kubelet", kubelet, kubernetes))
        install_operator(kubernetes)
        yield kubernetes


def commands(*, containing: str) -> str:
    """The block of commands of docs/how-to/kubernetes.md with this text in it, as it stands there."""
    blocks = re.findall(r"^```sh[^\n]*\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if containing in block)
    return str(found)


def install_operator(kubernetes: Kubernetes) -> None:
    """By the page's command; the chart is the one in dask-kubernetes' package, in place of a download of it."""
    chart = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    command = commands(containing="helm install")
    local = command.replace("dask-kubernetes-operator --repo https://helm.dask.org", shlex.quote(str(chart)))
    assert local != command
    done = kubernetes.shell(local)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{kubernetes.logs()}"
    for plural in ("daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs"):  # discovered, not only there
        kubernetes.wait_for(lambda plural=plural: not kubernetes.try_call("get", plural).returncode, 30)  # type: ignore[misc]
    ready = ("wait", "--for=condition=available", "deployment", "--all", "--namespace=dask-operator", "--timeout=50s")
    kubernetes.call(*ready)


def _etcd(ports: dict[str, int]) -> list[str]:
    clients, peers = (f"http://127.0.0.1:{ports[name]}" for name in ("etcd", "peer"))
    return [
        *("etcd", "--data-dir", "etcd", "--initial-cluster", f"default={peers}"),
        *("--listen-client-urls", clients, "--advertise-client-urls", clients),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
    ]


def _api_server(ports: dict[str, int]) -> list[str]:
    return [
        *(str(BINARIES / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{ports['etcd']}", "--cert-dir=certs"),
        *("--bind-address=127.0.0.1", f"--secure-port={ports['api']}", "--insecure-port=0"),
        *("--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"),
        *("--service-cluster-ip-range=10.96.0.0/24", "--service-account-issuer=https://test"),
        *("--service-account-signing-key-file=sa.key", "--service-account-key-file=sa.pub"),
        *("--authorization-mode=RBAC", "--token-auth-file=tokens.csv"),
        "--disable-admission-plugins=ServiceAccount",
    ]


def _controllers(ports: dict[str, int], admin: Path) -> list[str]:
    return [
        *(str(BINARIES / "kube-controller-manager"), f"--kubeconfig={admin}", "--leader-elect=false", "--port=0"),
        *("--bind-address=127.0.0.1", f"--secure-port={ports['controllers']}", "--cert-dir=certs"),
        "--controllers=deployment,replicaset,garbagecollector,namespace,job,endpoint",
    ]


@contextmanager
def _process(name: str, command: list[str], kubernetes: Kubernetes) -> Iterator[None]:
    with (kubernetes.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=kubernetes.folder, env=kubernetes.environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)
