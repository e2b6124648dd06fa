"""What Kubernetes' network policies let through, for incoming connections: as the API's documentation defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod as policies see it."""

    namespace: str
    labels: Mapping[str, str]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; the empty one matches everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        value, key = labels.get(expression["key"]), expression["key"]
        matches = {
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
            "In": value in expression.get("values", []),
            "NotIn": value not in expression.get("values", []),
        }
        if not matches[expression["operator"]]:
            return False
    return True


def reaches(
    policies: Sequence[Policy], source: Pod, target: Pod, port: int, namespaces: Mapping[str, Mapping[str, str]]
) -> bool:
    """Whether ``source`` may open a TCP connection to ``port`` of ``target``; ``namespaces`` holds their labels."""
    chosen = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == target.namespace
        and "Ingress" in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], target.labels)
    ]
    if not chosen:
        return True  # a pod that no policy names is open to all
    rules = [rule for spec in chosen for rule in spec.get("ingress", [])]
    return any(_rule(rule, source, target, port, namespaces) for rule in rules)


def _rule(
    rule: Mapping[str, Any], source: Pod, target: Pod, port: int, namespaces: Mapping[str, Mapping[str, str]]
) -> bool:
    ports = rule.get("ports")
    if ports is not None and not any(p.get("protocol", "TCP") == "TCP" and p.get("port", port) == port for p in ports):
        return False
    peers = rule.get("from")
    return peers is None or any(_peer(peer, source, target, namespaces) for peer in peers)


def _peer(peer: Mapping[str, Any], source: Pod, target: Pod, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], namespaces[source.namespace]):
            return False
    elif source.namespace != target.namespace:
        return False
    return selects(peer.get("podSelector", {}), source.labels)
