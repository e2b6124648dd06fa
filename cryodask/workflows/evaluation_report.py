"""The report of ``evaluate``: one evaluation, with the tomograms it is about where they can be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryodask.io.store import Store
from cryodask.model.evaluation import Truth, TruthSource
from cryodask.model.particles import Particles
from cryodask.workflows import layout
from cryodask.workflows.report import SHOWN_TOMOGRAMS, render_page, write_page
from cryodask.workflows.report_images import image_of_folder, images_of_store
from cryodask.workflows.report_slices import TomogramImage, slice_viewer
from cryodask.workflows.report_tomograms import StrictJudgement, TomogramSection, tomogram_sections
from cryodask.workflows.run_record import versions
from cryodask.workflows.search_inputs import is_store


def write_evaluation_report(
    path: Path,
    *,
    truth_paths: Sequence[Path],
    truths: Sequence[TruthSource],
    picks: Particles,
    result: Mapping[str, Any],
    command: str,
    seconds: Mapping[str, float],
) -> None:
    """Write the report of an evaluation to ``path``, in one step; arguments as they were read and computed.

    A single data set shows its tomograms and tilt series, SHREC folders their reconstruction where they have one.
    Several data sets are evaluated together and show the numbers only.
    """
    sections: list[TomogramSection] = []
    images: dict[str, TomogramImage] = {}
    run: dict[str, Any] = {"command": command, "seconds": seconds, "versions": versions()}
    if len(truth_paths) == 1 and is_store(truth_paths[0]):
        store = Store(truth_paths[0])
        sections, _ = tomogram_sections(store, picks, SHOWN_TOMOGRAMS)
        wanted = {own["tomogram"] for kind in result["examples"].values() for own in kind}
        images = images_of_store(store, sorted(wanted))
        run["structures"] = _structures(store, result)
    else:
        images = _folder_images(truth_paths, truths)
        sections = [_section(truth.load(), images[truth.name], picks) for truth in truths if truth.name in images]
        weights = result["weight_correlation"]["weight_kda"]
        run["structures"] = [{"id": name, "molecular_weight_kda": value} for name, value in weights.items()]
    page = render_page(
        title="cryodask evaluation",
        sections=sections,
        n_tomograms=result["n_tomograms"],
        images=images,
        n_picks=len(picks),
        evaluations={result["mode"]: result},
        run=run,
    )
    write_page(path, page)


def _structures(store: Store, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the data set says of the classes."""
    weight_kda = result["weight_correlation"]["weight_kda"]
    found = []
    for name in result["classification"]["labels"][1:]:
        group = layout.structure_group(name)
        attrs = store.info(group) if store.is_complete(group) else {}
        weight = attrs.get("molecular_weight_kda", weight_kda.get(name))
        own = {"name": attrs.get("name"), "source": attrs.get("source"), "molecular_weight_kda": weight}
        found.append({"id": name, **own})
    return found


def _folder_images(truth_paths: Sequence[Path], truths: Sequence[TruthSource]) -> dict[str, TomogramImage]:
    """Reconstructions of the first SHREC folders, by the name of their truth."""
    if any(is_store(path) for path in truth_paths) or len(truth_paths) != len(truths):
        return {}
    found = {}
    for path, truth in list(zip(truth_paths, truths, strict=True))[:SHOWN_TOMOGRAMS]:
        image = image_of_folder(path)
        if image is not None:
            found[truth.name] = image
    return found


def _section(truth: Truth, image: TomogramImage, picks: Particles) -> TomogramSection:
    own = picks.of_tomogram(truth.name)
    viewer = slice_viewer(truth.name, image, StrictJudgement.of(truth, own))
    return TomogramSection(name=truth.name, pictures=(viewer,))
