"""Settings of a site: what is taken, and that nothing which a shell would take for more than a word gets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryodask.cluster.site import CudaSite, KubernetesSite, SlurmSite, default_site, read_site
from cryodask.errors import ConfigError

TEXT = """
slurm:
  partition: gpu
  walltime: "12:00:00"
  gpus: 1
  directives: ["--constraint=a100"]
kubernetes: {image: "registry.example.org/cryodask:1", volume_claim: data}
cuda: {devices: "0,1", device_memory_limit: 14GiB}
"""


def test_each_kind_takes_its_section(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(TEXT)
    assert read_site(path, "slurm") == SlurmSite(
        partition="gpu", walltime="12:00:00", gpus=1, directives=("--constraint=a100",)
    )
    assert read_site(path, "kubernetes") == KubernetesSite(image="registry.example.org/cryodask:1", volume_claim="data")
    assert read_site(path, "cuda") == CudaSite(devices="0,1", device_memory_limit="14GiB")
    path.write_text("slurm:\n")
    assert read_site(path, "slurm") == default_site("slurm")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slurm: {partion: gpu}", "unknown key 'partion'; did you mean partition"),
        ("lsf: {}", "unknown section 'lsf'"),
        ("slurm: 3", "expected keys and values"),
        ("slurm: {partition: 3}", "slurm: partition = 3: expected text"),
        ("slurm: {gpus: true}", "gpus = True: expected int"),
        ("slurm: {gpus: -1}", "at least 0"),
        ("slurm: {directives: --mem}", "expected a list of texts"),
        ("slurm: {walltime: 30min}", "D-HH:MM:SS"),
        ("slurm: {partition: 'x; rm -rf y'}", "expected letters"),
        ("slurm: {account: '$(id)'}", "expected letters"),
        ("slurm: {scratch: '`id`'}", "expected letters"),
        ('slurm: {directives: ["--a\\nrm x"]}', "one line each"),
        ("slurm: {memory: 8}", "expected text"),
        ("slurm: {memory: '8'}", "4GiB"),
        ("kubernetes: {name: Upper}", "lower-case"),
        ("kubernetes: {image: 'a b'}", "expected letters"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_site(path, "kubernetes" if text.startswith("kubernetes") else "slurm")
    assert str(path) in str(caught.value)


def test_kinds_without_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a local cluster has no settings"):
        read_site(tmp_path / "site.yaml", "local")


@pytest.mark.parametrize(("text", "seconds"), [("00:30:00", 1800), ("2-01:00:05", 176405), ("100:00:00", 360000)])
def test_walltimes(text: str, seconds: int) -> None:
    assert SlurmSite(walltime=text).walltime_seconds == seconds
