"""NVIDIA's run-time compiler, which needs no GPU: whether a source compiles for a given architecture."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

WHY_NOT = 'the run-time compiler of CUDA is not installed; pip install -e ".[peers]"'


def library() -> ctypes.CDLL | None:
    """The compiler from NVIDIA's package, None if it is not installed."""
    found = importlib.util.find_spec("nvidia")
    for folder in [] if found is None else found.submodule_search_locations or []:
        for file in sorted(Path(folder).glob("*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(file))
    return None


def compile_for(nvrtc: ctypes.CDLL, source: str, architecture: str, *options: str) -> tuple[int, str]:
    """Bytes of machine code, and what the compiler says; 0 bytes where it refuses."""
    program = ctypes.c_void_p()
    status = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    assert status == 0, f"nvrtcCreateProgram: error {status}"
    try:
        given = [f"--gpu-architecture={architecture}", *options]
        texts = (ctypes.c_char_p * len(given))(*(text.encode() for text in given))
        status = nvrtc.nvrtcCompileProgram(program, len(given), texts)
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        code = ctypes.c_size_t()
        if status == 0:
            nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(code))
        return code.value, log.value.decode()
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
