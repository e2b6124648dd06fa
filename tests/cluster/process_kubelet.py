"""A kubelet that runs the one container of each pod as a process of this machine: no images, no network, no volumes.

What an image and a node would give is put in its place: /data is a folder, /scratch another, and a pod with a service
account finds a token of it in its KUBECONFIG. A process that ends is started again, as ``restartPolicy: Always`` asks;
that of a Job's pod is reported instead. `kubectl logs` shows its output. Run as a script with the folder and the API
server's port.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from tests.cluster.kubelet_logs import serve_logs
from tests.cluster.kubernetes_machine import kubeconfig
from tests.cluster.slurm_machine import free_port

NODE = "this-machine"
ENTRYPOINTS = {
    "ghcr.io/dask/dask-kubernetes-operator": (
        sys.executable,
        "-m",
        "kopf",
        "run",
        "-m",
        "dask_kubernetes.operator.controller",
    )
}
"""Of images whose pods name no command."""
LOOPBACK = {"0.0.0.0": "127.0.0.1", ":8787": "127.0.0.1:8787"}
"""Nothing of a test listens where others could reach it."""
POLL_SECONDS = 0.3


class Kubelet:
    """Pods as processes."""

    def __init__(self, folder: Path, port: int, api: Any) -> None:  # noqa: ANN401  (kubernetes has no annotations)
        self.folder, self.port, self.api = folder, port, api
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.reported: set[str] = set()
        self.by_name: dict[str, subprocess.Popen[bytes]] = {}

    def join(self) -> None:
        """Become a node whose pods' output the API server can ask for."""
        port = serve_logs(self.folder, lambda name: name in self.by_name and self.by_name[name].poll() is None)
        self.api.create_node({"metadata": {"name": NODE}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        self.api.patch_node_status(NODE, {"status": status})

    def look(self) -> None:
        """One round: start what is new, end what is to go, tell how the rest is."""
        pods = {pod.metadata.uid: pod for pod in self.api.list_pod_for_all_namespaces().items}
        for uid in set(self.processes) - set(pods):
            self.end(uid)
        for uid, pod in pods.items():
            if pod.metadata.deletion_timestamp:
                self.end(uid)
                self.api.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)
            elif uid not in self.processes:
                self.bind(pod)
                self.processes[uid] = self.start(pod)
                self.report(pod, "Running")
            elif (code := self.processes[uid].poll()) is not None and uid not in self.reported:
                if pod.spec.restart_policy == "Always":
                    self.processes[uid] = self.start(pod)
                else:
                    self.report(pod, "Failed" if code else "Succeeded", code)
                    self.reported.add(uid)

    def bind(self, pod: Any) -> None:  # noqa: ANN401
        """What a scheduler would do: say that the pod runs here."""
        if pod.spec.node_name is None:
            target = {"metadata": {"name": pod.metadata.name}, "target": {"kind": "Node", "name": NODE}}
            # The answer is a status, which this client takes for the binding and refuses.
            self.api.create_namespaced_binding(pod.metadata.namespace, target, _preload_content=False)

    def start(self, pod: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        container, name = pod.spec.containers[0], pod.metadata.name
        environment = {**os.environ, **{v.name: v.value for v in container.env or [] if v.value is not None}}
        environment.pop("KUBECONFIG", None)
        if (
            pod.spec.service_account_name not in (None, "default")
            and pod.spec.automount_service_account_token is not False
        ):
            environment["KUBECONFIG"] = str(self.account(pod))
        scratch = self.folder / f"scratch-{name}"
        scratch.mkdir(exist_ok=True)
        command = container.command or list(ENTRYPOINTS.get(container.image.partition(":")[0], ()))
        words = [self.word(word, environment, scratch) for word in command + (container.args or [])]
        print("start", name, words, flush=True)
        with (self.folder / f"pod-{name}.log").open("ab") as log:
            self.by_name[name] = subprocess.Popen(words, cwd=scratch, env=environment, stdout=log, stderr=log)
        return self.by_name[name]

    def word(self, word: str, environment: dict[str, str], scratch: Path) -> str:
        word = re.sub(r"\$\((\w+)\)", lambda match: environment.get(match[1], match[0]), word)
        word = re.sub(r"^/data(?=/|$)", str(self.folder / "data"), word)
        if word.startswith("--liveness="):
            return f"--liveness=http://127.0.0.1:{free_port()}/healthz"
        return LOOPBACK.get(word, word).replace("/scratch", str(scratch))

    def account(self, pod: Any) -> Path:  # noqa: ANN401
        """Of the pod's service account: what the API server lets it do is what its roles say."""
        name, namespace = pod.spec.service_account_name, pod.metadata.namespace
        made = self.api.create_namespaced_service_account_token(name, namespace, {"spec": {}})
        return kubeconfig(self.folder, self.port, name, made.status.token)

    def report(self, pod: Any, phase: str, code: int | None = None) -> None:  # noqa: ANN401
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = phase == "Running"
        kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        conditions = [{"type": kind, "status": str(ready), "lastTransitionTime": now} for kind in kinds]
        state = {"running": {"startedAt": now}} if ready else {"terminated": {"exitCode": code, "finishedAt": now}}
        (container,) = pod.spec.containers
        one = {"name": container.name, "image": container.image, "imageID": "", "ready": ready, "restartCount": 0}
        status = {
            "phase": phase,
            "podIP": "127.0.0.1",
            "hostIP": "127.0.0.1",
            "startTime": now,
            "conditions": conditions,
            "containerStatuses": [{**one, "state": state}],
        }
        self.api.patch_namespaced_pod_status(pod.metadata.name, pod.metadata.namespace, {"status": status})

    def end(self, uid: str) -> None:
        process = self.processes.pop(uid, None)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()


def main() -> None:
    import signal

    from kubernetes import client, config

    warnings.simplefilter("ignore")  # of urllib3, at each request without a certificate
    config.load_kube_config()
    kubelet = Kubelet(Path(sys.argv[1]), int(sys.argv[2]), client.CoreV1Api())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    kubelet.join()
    try:
        while True:
            try:
                kubelet.look()
            except client.ApiException as error:
                print(error.status, error.reason, flush=True)  # a pod that went meanwhile
            time.sleep(POLL_SECONDS)
    finally:
        for uid in list(kubelet.processes):
            kubelet.end(uid)


if __name__ == "__main__":
    main()
