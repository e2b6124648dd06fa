"""``cryodask info``: what a report of a fault needs, and what decides how fast things run."""

from __future__ import annotations

import click

from cryodask.cli.options import verbose_option

PACKAGES = ("dask", "distributed", "zarr", "numba", "numpy", "scipy", "xarray", "cupy-cuda13x", "dask-cuda")


@click.command(short_help="Show versions, processors, memory and GPUs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@verbose_option
def info(as_json: bool) -> None:
    """Show versions, processors, memory and GPUs.

    Reads what is installed without importing it, so that it also works where an installation is broken.
    """
    facts = _facts()
    if as_json:
        import json

        click.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {'not installed' if value is None else value}")


def _facts() -> dict[str, str | int | None]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from cryodask._version import __version__
    from cryodask.cluster.machine import available_memory_bytes, processor_count

    facts: dict[str, str | int | None] = {
        "cryodask": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    facts["processors"] = processor_count()
    facts["available memory"] = f"{available_memory_bytes() / 2**30:.1f} GiB"
    facts["cuda devices"] = _cuda_devices()
    return facts


def _cuda_devices() -> int:
    """Devices that the CUDA driver reports, 0 without one. Asks the driver itself: cupy may be absent or broken."""
    import ctypes
    import sys

    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
