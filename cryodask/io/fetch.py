"""Download of PDB entries, with a manifest that says what of each entry is the particle."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryodask.errors import ConfigError, DataError
from cryodask.io.atomic import reason, replacing
from cryodask.io.structure_atoms import read_atoms
from cryodask.io.structure_manifest import MANIFEST

ARCHIVE_URL = "https://files.rcsb.org/download"
TIMEOUT_S = 60

_ID = re.compile(r"[0-9][a-z0-9]{3}")

Download = Callable[[str, Path], None]
"""Gets a URL into a file; raises OSError or ValueError."""

_COLUMNS = ("id", "file", "assembly", "name", "molecular_weight_kda", "mask_radius_angstrom", "operators")


@dataclass(frozen=True)
class KnownEntry:
    """What the benchmark makes of an entry: its assembly and the molecular weight that the paper prints."""

    name: str
    assembly: str
    molecular_weight_kda: float
    mask_radius_angstrom: float
    operators: str = ""


SHREC21_ENTRIES = {
    "1s3x": KnownEntry("Hsp70 ATPase", "asu", 42.75, 40),
    "3qm1": KnownEntry("LJ0536 S106A", "bio:1", 62.62, 50),
    "3gl1": KnownEntry("Ssb1, Hsp70", "asu", 84.61, 55),
    "3h84": KnownEntry("GET3", "bio:2", 158.08, 90),
    "2cg9": KnownEntry("Hsp90-Sba1", "asu", 188.73, 80),
    "3d2f": KnownEntry("Sse1p, Hsp70", "asu", 236.11, 95),
    "1u6g": KnownEntry("Cand1-Cul1-Roc1", "asu", 238.82, 85),
    "3cf3": KnownEntry("P97/vcp", "bio:1", 541.74, 100),
    "1bxn": KnownEntry("Rubisco", "bio:1", 559.96, 75),
    "1qvr": KnownEntry("ClpB", "asu+operators", 593.36, 115, "1,0,0,-53.8735;0,-1,0,69.241;0,0,-1,0"),
    "4cr2": KnownEntry("26S proteasome", "asu", 1309.28, 160),
    "5mrc": KnownEntry("Yeast mitochondrial ribosome", "asu", 3325.59, 175),
}
"""The twelve scored classes of SHREC 2021."""


def fetch_entries(
    ids: Sequence[str], folder: str | Path, *, url: str = ARCHIVE_URL, download: Download | None = None
) -> list[Path]:
    """Download PDB entries as ``ID.cif.gz`` into ``folder`` and list them in its ``assemblies.tsv``.

    Files that are there already are kept. An entry outside ``SHREC21_ENTRIES`` is listed as its first biological
    assembly, or its asymmetric unit if it declares none. ConfigError for an id that is none, DataError if the archive
    cannot be reached or sends no structure; entries downloaded before the failure stay.
    """
    folder = Path(folder)
    wanted = list(dict.fromkeys(entry.lower() for entry in ids))
    for entry in wanted:
        if not _ID.fullmatch(entry):
            raise ConfigError(f"{entry!r} is not a PDB id: one digit, then three letters or digits, such as 1bxn")
    manifest = folder / MANIFEST
    rows = _listed(manifest)
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {folder}: {reason(error, folder.parent)}") from error
    try:
        return [_obtained(entry, folder, rows, url, download or _download) for entry in wanted]
    finally:
        if new and not any(folder.iterdir()):
            folder.rmdir()


def _obtained(entry: str, folder: Path, rows: dict[str, str], url: str, download: Download) -> Path:
    """The entry's file in ``folder``, downloaded and listed unless it is already."""
    path = folder / f"{entry}.cif.gz"
    if not path.exists():
        _fetch(f"{url}/{entry}.cif.gz", path, download)
    if entry not in rows:
        rows[entry] = _row(entry, path)
        with replacing(folder / MANIFEST) as partial:
            lines = ("\t".join(_COLUMNS), *rows.values())
            partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _fetch(url: str, path: Path, download: Download) -> None:
    with replacing(path) as partial:
        try:
            download(url, partial)
            read_atoms(partial.read_bytes(), path)  # an archive answers some mistakes with a page of text
        except DataError as error:
            raise DataError(f"{url} sent no structure; check the id, or try again later ({error})") from error
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot download {url}: {error}. Check the network, or put the file into {path.parent} by hand"
            ) from error


def _download(url: str, path: Path) -> None:
    import pooch  # slow to import, and only needed here

    pooch.HTTPDownloader(timeout=TIMEOUT_S)(url, str(path), None)


def _listed(manifest: Path) -> dict[str, str]:
    """Lines of a manifest that this module wrote, by id; DataError for one that someone else wrote."""
    if not manifest.exists():
        return {}
    header, *lines = manifest.read_text(encoding="utf-8").splitlines() or [""]
    if header != "\t".join(_COLUMNS):
        raise DataError(f"{manifest} was not written by this command: choose another folder, or list the entries there")
    return {line.split("\t")[0]: line for line in lines if line.strip()}


def _row(entry: str, path: Path) -> str:
    known = SHREC21_ENTRIES.get(entry)
    if known is None:
        assemblies = read_atoms(path.read_bytes(), path).assemblies
        assembly = f"bio:{assemblies[0].name}" if assemblies else "asu"
        return "\t".join((entry, path.name, assembly, entry, "", "", ""))
    numbers = (f"{known.molecular_weight_kda:g}", f"{known.mask_radius_angstrom:g}")
    return "\t".join((entry, path.name, known.assembly, known.name, *numbers, known.operators))
