"""The authors' released weights: read a ``.pth.tar`` safely and make a run folder of it.

A released file is a dict: ``model_state_dict`` (trunk, branches, identity head on f2, pose head),
``classifier_state_dict`` (identity head on f1), ``clothes_classifier_state_dict``, ``rank1`` and
``epoch``. It has no optimiser and no gender head, so it can be evaluated and
looked into, not trained on. Nothing in the file is executed.
"""

from __future__ import annotations

import contextlib
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlqkit.config import Config, load_profile
from rlqkit.data.labels.text import kind_of
from rlqkit.errors import RlqkitError
from rlqkit.files import digest
from rlqkit.method.degradations import MIXES
from rlqkit.method.network import Heads
from rlqkit.method.rows import Row, find_row
from rlqkit.runs.backbone import build_network
from rlqkit.runs.folder import RunFolder, profile_folder

MODEL, HEAD_1, CLOTHES = (
    "model_state_dict", "classifier_state_dict", "clothes_classifier_state_dict",
)  # fmt: skip
HEAD_2, POSE_HEAD = "identity_classifier.classifier", "identity_classifier2.classifier"
ENDINGS = (".pth.tar", ".pth", ".pt", ".tar", ".ckpt", ".bin")
AS_RELEASED = "use the file before unpacking, as the authors released it (a .pth.tar stays packed)"
BRANCH_NUMBERS = {"branch1": 1, "branch2": 2, "pose": 3}
STEM_PLACES = 4
"""The stem's four layers stand before layer1 and layer2 in the released trunk."""
TRAINING_IDENTITIES = {77: "ltcc", 150: "prcc", 5000: "last", 450: "deepchange", 632: "celeb-reid"}
"""The file doesn't say what it was trained on; the width of its identity head does."""


@dataclass(frozen=True)
class ReleasedWeights:
    """What a released file holds, under our names.

    Attributes:
        row: "base" or "rlq", told by the keys: only RLQ has a pose branch.
        network: state dict of :class:`rlqkit.method.network.Network`.
        heads: state dict of ``method.network.Heads``, as far as released (no gender head).
        claimed: rank1 and epoch as the file states them; nobody here has measured them.
    """

    row: Row
    network: dict[str, Tensor]
    heads: dict[str, Tensor]
    claimed: dict[str, float | None]

    @property
    def identities(self) -> int:
        """Identities of its training set."""
        return len(self.heads["identity_1.weight"])


def released_name(name: str) -> tuple[str, str]:
    """Entry of the released dict and key in it, for the name of a weight of Network or Heads.

    Raises:
        KeyError: nothing like it is released (the gender head).
    """
    room, *rest = name.split(".")
    if room == "stem":
        return MODEL, ".".join(["common", *rest])
    if room == "trunk":
        return MODEL, ".".join(["common", str(int(rest[0]) + STEM_PLACES), *rest[1:]])
    if room == "branches":
        return MODEL, ".".join([f"branch{BRANCH_NUMBERS[rest[0]]}", *rest[1:]])
    if room == "pools":
        return MODEL, f"bn{BRANCH_NUMBERS[rest[0]]}.{rest[-1]}"
    entry, prefix = {
        "identity_1": (HEAD_1, "classifier."),
        "identity_2": (MODEL, f"{HEAD_2}."),
        "pose": (MODEL, f"{POSE_HEAD}."),
        "clothes": (CLOTHES, ""),
    }[room]
    return entry, prefix + rest[-1]


def read_released(file: Path) -> ReleasedWeights:
    """Reads a released checkpoint; its tensors stay on disk until they are used.

    Raises:
        RlqkitError: the file is missing, can't be read without executing it, is no released
            checkpoint, or holds another architecture than ResNet-50 with two or three branches.
    """
    given = _load(file)
    has_pose = any(key.startswith("branch3.") for key in given[MODEL])
    row = find_row("rlq" if has_pose else "base")
    with torch.device("meta"):  # names and shapes only
        network = build_network(
            load_profile("paper", {"model.weights": "none"}).model, row.branch_names
        )
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    heads = ["identity_1.weight", "identity_1.bias", "identity_2.weight", "identity_2.bias"]
    heads += ["clothes.weight", *(["pose.weight", "pose.bias"] if has_pose else [])]
    wanted |= _head_shapes(given, heads, network.dimensions)
    _refuse_differences(given, wanted, file)
    found = {name: _released(given, name) for name in wanted}
    return ReleasedWeights(
        row,
        {name: tensor for name, tensor in found.items() if name not in heads},
        {name: found[name] for name in heads},
        {"rank1": _number(given.get("rank1"), float), "epoch": _number(given.get("epoch"), int)},
    )


def import_weights(
    file: Path, dataset: str = "", overrides: Mapping[str, Any] | None = None
) -> RunFolder:
    """Makes a run folder of a released checkpoint, for ``rlqkit evaluate`` and the notebooks.

    The folder lies in ``results/<profile>/imported``, apart from ``runs``: these weights were not
    trained here, so tables of our runs never hold them. It has the paper profile's configuration,
    the network, the heads, and ``provenance.json`` with the file's SHA-256 and its own claims.
    Figures come with ``rlqkit evaluate``.

    Args:
        file: a released ``.pth.tar``.
        dataset: what the weights were trained on; empty = told by the width of the identity head.
        overrides: dotted configuration keys, such as ``data.root``.

    Raises:
        RlqkitError: as :func:`read_released`, or the data set can't be told.
    """
    released = read_released(file)
    config = _configuration(released, dataset, overrides or {})
    sha256 = digest(file)
    name = f"{released.row.name}-{config.data.dataset}-{sha256[:8]}"
    folder = RunFolder(profile_folder(config) / "imported" / name)
    folder.start(config)
    folder.save_network(released.network, "last")
    folder.save_heads(released.heads)
    folder.save_json(
        "provenance.json",
        {
            "source": "weights released by the authors of RLQ, not trained by this kit",
            "file": file.name,
            "bytes": file.stat().st_size,
            "sha256": sha256,
            "claimed": released.claimed,
            "identities": released.identities,
            "clothes": len(released.heads["clothes.weight"]),
        },
    )
    return folder


def load_heads(folder: RunFolder) -> Heads:
    """The classifiers of an imported run, in eval mode; it has no gender head.

    Raises:
        RlqkitError: the folder has none.
    """
    state = folder.heads()
    row = find_row(folder.config().row)
    classes = {name: len(state[f"{name}.weight"]) for name in ("identity_1", "clothes")}
    clusters = len(state["pose.weight"]) - 1 if row.uses_pose else 0
    dimensions = state["identity_1.weight"].shape[1]
    heads = Heads(dimensions, classes["identity_1"], classes["clothes"], row.branch_names, clusters)
    heads.load_state_dict(state)
    return heads.eval()


def _load(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise RlqkitError(f"{file} does not exist; give a .pth.tar that the authors released")
    packed = _packed_otherwise(file)
    if packed:
        raise RlqkitError(f"{file} {packed}")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            # files of torch < 1.6 are no zip archives and can't be mapped
            given = torch.load(
                file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
            )
    except Exception as error:
        raise RlqkitError(
            f"{file} can't be read as weights ({type(error).__name__}); it is truncated, no torch "
            "checkpoint, or holds code, which is never run: download it again"
        ) from error
    wanted = (MODEL, HEAD_1, CLOTHES)
    absent = [key for key in wanted if not isinstance(given, dict) or key not in given]
    odd = [key for key in wanted if not absent and not _is_state_dict(given[key])]
    if absent or odd:
        raise RlqkitError(
            f"{file} is no released checkpoint: {(absent or odd)[0]} is "
            f"{'absent' if absent else 'no state dict'}; give a .pth.tar that the authors released"
        )
    released: dict[str, Any] = given
    return released


def _packed_otherwise(file: Path) -> str:
    """What a file is that holds a checkpoint, or was part of one, but isn't one; else ""."""
    if file.is_dir():
        return _unpacked(file)
    with file.open("rb") as stream:
        start = stream.read(512)
    what = kind_of(start)
    if what.startswith(("a web page", "a Git LFS")):
        return f"can't be read as weights: it is {what}"
    if start.startswith(b"PK\x03\x04"):  # a tar that ends in a zip looks like one from behind
        return _zipped(file) if zipfile.is_zipfile(file) else ""
    if start[:2] == b"\x1f\x8b":
        return f"is gzipped: unpack it (gunzip) and give the file inside; {AS_RELEASED}"
    if tarfile.is_tarfile(file):
        with tarfile.open(file) as archive:
            inside = _checkpoints(archive.getnames())
        # torch < 0.1.10 wrote tar files, whose members these are
        return "" if "storages" in inside else _archive("a tar archive", inside)
    if file.name == "data.pkl" or (file.parent / "data.pkl").is_file():
        return f"is a part of a checkpoint that was unpacked too far: {AS_RELEASED}"
    return ""


def _unpacked(folder: Path) -> str:
    """A folder in place of a file: what to do."""
    if any((place / "data.pkl").is_file() for place in (folder, *folder.glob("*/"))):
        return f"is a checkpoint that was unpacked too far: {AS_RELEASED}"
    inside = sorted(p.name for p in folder.iterdir() if p.name.endswith(ENDINGS))
    return f"is a folder: give a file{f', such as {folder / inside[0]}' if inside else ''}"


def _zipped(file: Path) -> str:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
    pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    own = [name for name in names if not name.startswith("__MACOSX/")]
    # torch writes one folder, uncompressed, with data.pkl right in it
    as_written = len({name.partition("/")[0] for name in own}) == 1 and not packed
    if any(name.count("/") == 1 for name in pickles) and as_written:
        return ""
    if pickles:
        return f"holds a checkpoint that was unpacked and zipped again: {AS_RELEASED}"
    return _archive("a zip archive", _checkpoints(names))


def _archive(what: str, inside: list[str]) -> str:
    if not inside:
        return f"is {what} without a checkpoint: give a .pth.tar that the authors released"
    return f"is {what}: unpack it and give {inside[0]} from it"


def _checkpoints(names: Iterable[str]) -> list[str]:
    """Members that may be checkpoints, or the mark of an old tar checkpoint."""
    return [
        name
        for name in names
        if name.endswith((*ENDINGS, "storages")) and not name.startswith("__MACOSX/")
    ]


def _numpy_scalars() -> list[Any]:
    """What a pickled float64 of NumPy names, in new and old NumPy: ``rank1`` may be one."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    return [
        np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType,
        (scalar, "numpy._core.multiarray.scalar"), (scalar, "numpy.core.multiarray.scalar"),
    ]  # fmt: skip


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, Tensor) for v in value.values())


def _head_shapes(
    given: Mapping[str, Any], names: Iterable[str], dimensions: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of heads; their classes, which vary, are taken from the file, alike for a head."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        head, kind = name.split(".")
        source = "identity_1" if head == "identity_2" else head  # both name the same identities
        weight = _released(given, f"{source}.weight")
        classes = weight.shape[0] if weight is not None and weight.ndim else 0
        shapes[name] = (classes, dimensions) if kind == "weight" else (classes,)
    return shapes


def _released(given: Mapping[str, Any], name: str) -> Any:
    entry, key = released_name(name)
    return given[entry].get(key)


def _refuse_differences(
    given: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], file: Path
) -> None:
    """Every weight must be there in its shape, and nothing else; the first difference is named."""
    known: dict[str, set[str]] = {MODEL: set(), HEAD_1: set(), CLOTHES: set()}
    problems = []
    for name, shape in wanted.items():
        entry, key = released_name(name)
        known[entry].add(key)
        tensor = given[entry].get(key)
        if tensor is None:
            problems.append(f"{key} is absent")
        elif tuple(tensor.shape) != shape:
            problems.append(f"{key} is {tuple(tensor.shape)} and not {shape}")
    for entry, keys in known.items():
        problems += [f"{key} is unknown" for key in given[entry] if key not in keys]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RlqkitError(
            f"{file} is of another architecture: {problems[0]}{more}; only ResNet-50 with the "
            "trunk shared through layer2 is released as base model or RLQ"
        )


def _configuration(released: ReleasedWeights, dataset: str, overrides: Mapping[str, Any]) -> Config:
    dataset = dataset or TRAINING_IDENTITIES.get(released.identities, "")
    if not dataset:
        raise RlqkitError(
            f"{released.identities} identities tell no data set (known: "
            f"{', '.join(f'{n} {name}' for n, name in TRAINING_IDENTITIES.items())}); "
            "name it with --dataset"
        )
    told = TRAINING_IDENTITIES.get(released.identities, dataset)
    if told != dataset and dataset in TRAINING_IDENTITIES.values():
        raise RlqkitError(
            f"these weights have {released.identities} identities, so they were trained on {told}, "
            f"not on {dataset}: leave out --dataset; to measure them on {dataset}, say --set "
            f"data.dataset={dataset}"
        )
    settings: dict[str, Any] = {"data.dataset": dataset, "row": released.row.name}
    # one epoch, evaluated in the exact arithmetic, whatever it was trained in
    settings |= {"evaluation.selection": ["last"], "training.precision": "32-true"}
    mix = dataset.removesuffix("-reid")
    if mix in MIXES:
        settings["quality.mix"] = mix
    if released.row.uses_pose:
        settings["cap.clusters"] = len(released.heads["pose.weight"]) - 1
    return load_profile("paper", {**settings, **overrides})


def _number(value: Any, kind: type[float] | type[int]) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        return kind(value)
    return None
