"""Running the package's CUDA C on the host, compiled by the system's C++ compiler."""

from __future__ import annotations

import ctypes
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryodask.backend import Array

COMPILER = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
WHY_NOT = "no C++ compiler (Debian: apt-get install g++)"

_C_TYPES: dict[type[Any], Any] = {np.int32: ctypes.c_int, np.float64: ctypes.c_double}


class HostLauncher:
    """Stands for ``backend.launch_cuda`` in tests: same source, same grid, numpy's arrays."""

    def __init__(self, folder: Path, block: tuple[int, int, int] = (32, 8, 1)) -> None:
        self.folder, self.block = folder, block

    def __call__(
        self, source: str, name: str, threads: tuple[int, int, int], arguments: Sequence[object], like: Array
    ) -> None:
        real = "double" if like.dtype == np.float64 else "float"
        grid = tuple(math.ceil(count / size) for count, size in zip(threads, self.block, strict=True))
        library = self._compiled(source, name, real, grid)
        getattr(library, f"launch_{name}")(*(_as_c(each) for each in arguments))

    def _compiled(self, source: str, name: str, real: str, grid: tuple[int, ...]) -> ctypes.CDLL:
        """The kernel and a function that runs it for all threads of the grid."""
        head = re.sub(r"//[^\n]*", "", source[source.index(f"void {name}(") :])
        declared = head[head.index("(") + 1 : head.index(")")]
        names = [re.split(r"[\s*]+", part.strip())[-1] for part in declared.split(",")]
        text = (
            f'#define REAL {real}\n#include "{Path(__file__).with_name("cuda_on_host.h")}"\n{source}\n'
            f'extern "C" void launch_{name}({declared}) {{ run_all({_braced(grid)}, {_braced(self.block)}, '
            f"[&] {{ {name}({', '.join(names)}); }}); }}\n"
        )
        stem = self.folder / f"{name}_{real}_{'_'.join(map(str, grid))}"
        stem.with_suffix(".cpp").write_text(text)
        assert COMPILER is not None
        options = ("-std=c++14", "-O2", "-shared", "-fPIC", "-Wall", "-Wno-unused-variable")
        subprocess.run([COMPILER, *options, "-o", f"{stem}.so", f"{stem}.cpp"], check=True, timeout=120)
        return ctypes.CDLL(f"{stem}.so")


def _braced(sizes: Sequence[int]) -> str:
    return "Index3{" + ", ".join(map(str, sizes)) + "}"


def _as_c(value: object) -> Any:  # noqa: ANN401  (one of ctypes' types)
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    assert isinstance(value, np.int32 | np.float64)
    return _C_TYPES[type(value)](value)
