"""All that the page shows, computed from run folders: thumbnails, maps, neighbours, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rlqkit.config import Config
from rlqkit.data.loaders import degradation_mix, load_benchmark
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.collapse import Matrix
from rlqkit.evaluation.descriptors import extract_descriptors
from rlqkit.evaluation.metrics import Labels
from rlqkit.method.rows import find_row
from rlqkit.progress import bar
from rlqkit.report.explorer import maps, neighbours, thumbnails
from rlqkit.report.explorer.choice import (
    LEVELS,
    MOST_IMAGES,
    Setting,
    choose_images,
    describe_people,
    people_of_test,
    settings,
)
from rlqkit.runs.experiment import load_network, machine_of
from rlqkit.runs.folder import RunFolder


@dataclass(frozen=True, eq=False)
class View:
    """What one network makes of the images, setting by setting (s of them, n images).

    Attributes:
        title: of the network, unlike any other on the page.
        where: name of its run folder.
        positions: (s, 2n, 2) uint16, HQ first.
        nearest: (s, 2n, NEIGHBOURS) positions in the pool.
        cosines: likewise, in −1..1.
        figures: one table line a setting, see ``neighbours.figures``, trust and continuity.
    """

    title: str
    where: str
    positions: NDArray[np.uint16]
    nearest: NDArray[np.int64]
    cosines: NDArray[np.float32]
    figures: list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class Exploration:
    """Everything of one page.

    Attributes:
        dataset, profile: what and how.
        synthetic: rendered people.
        people: person, outfit, camera of each image.
        test_people: people of the test, of whom these are some.
        settings: (kind, level, text) of each.
        other_cameras: whether neighbours are images of other cameras.
        chance: figures of random features.
        views: one a network.
        cell: width and height of a thumbnail.
        sheets: one data URI a setting; empty = no photographs.
    """

    dataset: str
    profile: str
    synthetic: bool
    people: pd.DataFrame
    test_people: int
    settings: list[tuple[str, int, str]]
    other_cameras: bool
    chance: dict[str, float]
    views: list[View]
    cell: tuple[int, int]
    sheets: list[str]


def explore(
    folders: Sequence[RunFolder],
    most: int = MOST_IMAGES,
    photos: bool = True,
    levels: int = LEVELS,
    seed: int = 0,
) -> Exploration:
    """Shows the same images to every network and gathers what each makes of them.

    Args:
        folders: runs with weights, trained or imported; whether they were evaluated is no matter.
        most: bound on the number of images.
        photos: whether the page gets thumbnails.
        levels: settings of each degradation.
        seed: of the choice of people and of the maps.

    Raises:
        RlqkitError: a run has no weights, runs were measured on different data, or there are too
            few images.
    """
    configs = [folder.config() for folder in folders]
    _require_same_images(folders, configs)
    config = configs[0]
    benchmark = load_benchmark(config)
    images = choose_images(benchmark, most, seed)
    stops = settings(images, config, levels)
    labels, by_camera = neighbours.separable(Labels(*images.metric_arrays()))
    titles = _titles(folders, configs)
    work = bar(total=len(folders) * len(stops), desc="descriptors", unit="setting")
    with work:
        features = [_describe(folder, stops, work) for folder in folders]
    threads = torch.get_num_threads()
    views = [
        _view(title, folder.path.name, own, stops, labels, seed)
        for title, folder, own in zip(
            titles, folders, bar(features, desc="maps", unit="network"), strict=True
        )
    ]
    torch.set_num_threads(threads)  # numba's thread pool changes torch's
    cell = thumbnails.cell_size(images.sizes)
    return Exploration(
        dataset=benchmark.name,
        profile=config.profile,
        synthetic=benchmark.synthetic,
        people=describe_people(images),
        test_people=len(people_of_test(benchmark)),
        settings=[(stop.kind, stop.level, stop.text) for stop in stops],
        other_cameras=by_camera,
        chance=neighbours.figures_by_chance(labels),
        views=views,
        cell=cell,
        sheets=[thumbnails.sheet(stop.images, cell) for stop in stops] if photos else [],
    )


def _require_same_images(folders: Sequence[RunFolder], configs: Sequence[Config]) -> None:
    """Refuses networks that wouldn't be shown the same images; the first difference is named."""
    first = _shown_by(configs[0])
    for folder, config in zip(folders, configs, strict=True):
        for key, value in _shown_by(config).items():
            if value != first[key]:
                raise RlqkitError(
                    f"{folder.path} was made with {key} = {value}, {folders[0].path} with "
                    f"{first[key]}; explore runs of the same data and degradations together"
                )


def _shown_by(config: Config) -> dict[str, Any]:
    """What decides which images are shown, and how they are damaged."""
    data = config.data
    return {
        "data.dataset": data.dataset, "data.root": data.root, "data.identities": data.identities,
        "data.test": data.test, "data.test_root": data.test_root,
        "quality.severity": config.quality.severity, "quality.mix": degradation_mix(config),
        "evaluation.degradation_seed": config.evaluation.degradation_seed,
    }  # fmt: skip


def _titles(folders: Sequence[RunFolder], configs: Sequence[Config]) -> list[str]:
    """Names of the networks: their row, with the seed or the folder where that isn't enough."""
    rows = [
        find_row(config.row).title + ", imported" * folder.imported
        for folder, config in zip(folders, configs, strict=True)
    ]
    seeds = [f"{row}, seed {config.seed}" for row, config in zip(rows, configs, strict=True)]
    paths = [f"{row}, {folder.path}" for row, folder in zip(rows, folders, strict=True)]
    for names in (rows, seeds):
        if len(set(names)) == len(names):
            return names
    return paths


def _describe(folder: RunFolder, stops: Sequence[Setting], work: Any) -> list[Matrix]:
    """Descriptors of the images in each setting, by the run's own size and arithmetic."""
    config = folder.config()
    fabric, network, found = machine_of(folder), load_network(folder), []
    for stop in stops:
        stop.images.size = (config.data.height, config.data.width)
        found.append(extract_descriptors(network, stop.images, fabric, config))
        work.update()
    return found


def _view(
    title: str, where: str, features: Sequence[Matrix], stops: Sequence[Setting], labels: Labels,
    seed: int,
) -> View:  # fmt: skip
    hq = features[0]
    order = maps.chain([(stop.kind, stop.level) for stop in stops])
    laid_out = maps.lay_out_settings(features, order, seed)
    alone = neighbours.nearest_images(hq, None, labels.camera)
    nearest = [neighbours.Nearest(np.tile(alone.images, (2, 1)), np.tile(alone.cosines, (2, 1)))]
    nearest += [neighbours.nearest_images(hq, lq, labels.camera) for lq in features[1:]]
    shown = [hq, *(np.concatenate([hq, lq]) for lq in features[1:])]
    figures = [
        neighbours.figures(hq, lq, labels) | maps.trust(pool, positions[: len(pool)])
        for lq, pool, positions in zip(features, shown, laid_out, strict=True)
    ]
    return View(
        title, where, maps.quantised(laid_out),
        np.stack([found.images for found in nearest]),
        np.stack([found.cosines for found in nearest]), figures,
    )  # fmt: skip
