"""Pretrained estimators: ViTPose for joints, a SegFormer trained on ATR for clothes.

A model is a folder (config.json, model.safetensors, perhaps preprocessor_config.json) or a name on
the Hugging Face hub, perhaps with a revision (`owner/name@revision`), which is fetched once and
kept in the hub's cache. Weights are read from safetensors only, nothing in them is ever run.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import torch
from numpy.typing import NDArray

from rlqkit.data.imageset import N_JOINTS
from rlqkit.errors import RlqkitError, one_line
from rlqkit.files import digest

Image = NDArray[np.uint8]
"""(H, W, 3), RGB, upright."""

WEIGHTS = "model.safetensors"
FILES = ("config.json", "preprocessor_config.json", WEIGHTS)
"""All that is taken from a hub; other files of a model may hold code."""
HUB_TIMEOUT = 10.0
"""Seconds that the hub has to answer before a model counts as out of reach."""
ATR_CLOTHES = {4: "upper", 5: "skirt", 6: "pants", 7: "dress"}
"""Labels of ATR that are recoloured, and a word of their names in a model's configuration."""
ATR_LABELS = 18


@dataclass(frozen=True)
class Kind:
    """A kind of estimator: what it is called, its option, its usual model, its classes."""

    name: str
    option: str
    usual: str
    architecture: str
    network: str
    processor: str


POSE = Kind(
    "pose model", "--pose-model", "usyd-community/vitpose-base-simple", "vitpose",
    "VitPoseForPoseEstimation", "VitPoseImageProcessor",
)  # fmt: skip
CLOTHES = Kind(
    "mask model", "--mask-model", "mattmdjaga/segformer_b2_clothes", "segformer",
    "SegformerForSemanticSegmentation", "SegformerImageProcessor",
)  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Where labels come from.

    Attributes:
        model: as it was asked for, without revision.
        revision: commit on the hub, or "sha256:..." of a folder's weights.
    """

    model: str
    revision: str

    def __str__(self) -> str:
        return f"{self.model} ({self.revision})"


@dataclass(frozen=True, eq=False)
class PoseEstimator:
    """Seventeen COCO joints of the person that fills an image."""

    network: Any
    processor: Any
    origin: Origin
    device: torch.device

    def __call__(self, images: Sequence[Image]) -> NDArray[np.float64]:
        """(n, 17, 3): x, y in pixels of each image, confidence; zeros for a joint nobody found."""
        boxes = [[[0.0, 0.0, image.shape[1], image.shape[0]]] for image in images]
        given = self.processor(
            _owned(images), boxes=boxes, return_tensors="pt", input_data_format="channels_last"
        )
        pixels = given["pixel_values"].to(self.device, torch.float32)
        extra = {}
        if getattr(self.network.config.backbone_config, "num_experts", 1) > 1:
            # of a ViTPose+ with an expert for each data set, the first one is COCO's
            extra["dataset_index"] = torch.zeros(len(images), dtype=torch.long, device=self.device)
        with torch.inference_mode():
            outputs = self.network(pixels, **extra)
        found = self.processor.post_process_pose_estimation(outputs, boxes=boxes)
        joints = np.stack([_joints_of(people[0]) for people in found])
        lost = ~np.isfinite(joints).all(axis=2) | (joints[..., 2] <= 0)
        joints[lost] = 0
        return joints


@dataclass(frozen=True, eq=False)
class ClothesParser:
    """Labels of ATR, 0 (background) to 17, for every pixel."""

    network: Any
    processor: Any
    origin: Origin
    device: torch.device

    def __call__(self, images: Sequence[Image]) -> list[NDArray[np.uint8]]:
        """(H, W) labels of each image, at its own size."""
        given = self.processor(
            _owned(images), return_tensors="pt", input_data_format="channels_last"
        )
        with torch.inference_mode():
            outputs = self.network(given["pixel_values"].to(self.device, torch.float32))
        sizes = [image.shape[:2] for image in images]
        maps = self.processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
        return [labels.cpu().numpy().astype(np.uint8) for labels in maps]


def pose_estimator(model: str = POSE.usual, device: str = "auto") -> PoseEstimator:
    """A ViTPose with 17 joints, ready to use.

    Args:
        model: folder, or name on the hub.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        RlqkitError: transformers is missing, the model can't be had, or is no such model.
    """
    place, chosen = _load(POSE, model), _device(device)
    config = place.network.config
    if config.num_labels != N_JOINTS:
        raise RlqkitError(
            f"pose model {model} has {config.num_labels} joints: give one trained on COCO's "
            f"{N_JOINTS}"
        )
    size, seen = place.processor.size, list(config.backbone_config.image_size)
    if [size["height"], size["width"]] != seen:
        raise RlqkitError(
            f"pose model {model}: preprocessor_config.json has size {size['height']} x "
            f"{size['width']}, config.json {seen[0]} x {seen[1]}: make them agree"
        )
    return PoseEstimator(place.network.to(chosen), place.processor, place.origin, chosen)


def clothes_parser(model: str = CLOTHES.usual, device: str = "auto") -> ClothesParser:
    """A SegFormer with the 18 labels of ATR, ready to use; arguments and errors as above."""
    place, chosen = _load(CLOTHES, model), _device(device)
    config = place.network.config
    names = {int(label): str(name).lower() for label, name in config.id2label.items()}
    generic = all(name.startswith("label_") for name in names.values())
    fits = len(names) == ATR_LABELS and (
        generic or all(word in names[label] for label, word in ATR_CLOTHES.items())
    )
    if not fits:
        shown = ", ".join(names[label] for label in sorted(names)[:8])
        raise RlqkitError(
            f"mask model {model} has {len(names)} labels ({shown}, ...), which aren't ATR's "
            f"{ATR_LABELS}: give a SegFormer that was trained on ATR"
        )
    return ClothesParser(place.network.to(chosen), place.processor, place.origin, chosen)


# ------------------------------------------------------------------------------------- loading


@dataclass(frozen=True, eq=False)
class _Loaded:
    network: Any
    processor: Any
    origin: Origin


def _load(kind: Kind, model: str) -> _Loaded:
    library = _transformers()
    folder, origin = _found(kind, model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = config.get("model_type", "unknown")
    except (OSError, ValueError, AttributeError) as error:
        raise RlqkitError(f"{kind.name} {model}: no config.json of a model ({error})") from None
    if architecture != kind.architecture:
        raise RlqkitError(
            f"{kind.name} {model} is of architecture {architecture}: give one of architecture "
            f"{kind.architecture} ({kind.option})"
        )
    if not (folder / WEIGHTS).is_file():
        raise RlqkitError(
            f"{kind.name} {model} has no {WEIGHTS}: save it in that format; pickled weights are "
            "never loaded"
        )
    try:
        network, told = getattr(library, kind.network).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
        processor = _processor(getattr(library, kind.processor), folder, config)
    except Exception as error:  # whatever the library makes of what lies there
        raise RlqkitError(f"{kind.name} {model} can't be loaded: {one_line(error)}") from error
    lacking = [*told["missing_keys"], *(key[0] for key in told["mismatched_keys"])]
    if lacking:  # the library would start them at random
        raise RlqkitError(
            f"{kind.name} {model}: {WEIGHTS} lacks {len(lacking)} of the network's tensors "
            f"({sorted(lacking)[0]}, ...): give weights that were trained for this task"
        )
    return _Loaded(network.eval(), processor, origin)


def _processor(made_of: Any, folder: Path, config: dict[str, Any]) -> Any:
    """How images are prepared: as the model's folder says, else as its kind usually does it."""
    if (folder / "preprocessor_config.json").is_file():
        return made_of.from_pretrained(folder, local_files_only=True)
    size = config.get("backbone_config", {}).get("image_size")
    return made_of(size=dict(zip(("height", "width"), size, strict=True))) if size else made_of()


def _found(kind: Kind, model: str) -> tuple[Path, Origin]:
    """The model's folder, fetched from the hub if it isn't here, and its revision."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        weights = folder / WEIGHTS
        revision = f"sha256:{digest(weights)[:16]}" if weights.is_file() else ""
        return folder, Origin(model, revision)
    name, _, wanted = model.partition("@")
    place = _cached(name, wanted) or _fetched(kind, name, wanted)
    return place, Origin(name, place.name)


def _cached(name: str, wanted: str) -> Path | None:
    """Where the hub's cache has a model, if it does."""
    try:
        place = huggingface_hub.snapshot_download(
            name, revision=wanted or None, allow_patterns=list(FILES), local_files_only=True
        )
    except Exception:  # not a name, not there, not whole: the hub's errors differ by version
        return None
    return Path(place) if (Path(place) / WEIGHTS).is_file() else None


def _fetched(kind: Kind, name: str, wanted: str) -> Path:
    """Asks the hub once: its client would retry for half a minute without a network."""
    reason = "HF_HUB_OFFLINE is set"
    try:
        if not huggingface_hub.is_offline_mode():
            address = huggingface_hub.hf_hub_url(name, WEIGHTS)
            huggingface_hub.get_session().head(address, timeout=HUB_TIMEOUT)
            place = huggingface_hub.snapshot_download(
                name, revision=wanted or None, allow_patterns=list(FILES)
            )
            return Path(place)
    except Exception as error:  # whatever kind of client the hub's library uses
        reason = one_line(error)
    raise RlqkitError(
        f"{kind.name} {name} is no folder here, not in the cache and can't be fetched ({reason}): "
        f"fetch it once with a network, or give {kind.option} a folder that holds it "
        "(docs/datasets/labels.md)"
    )


def _transformers() -> Any:
    """The library, which is an extra; quiet."""
    try:
        library = importlib.import_module("transformers")
    except ModuleNotFoundError:
        raise RlqkitError(
            "labelling needs transformers, an extra: .venv/bin/python -m pip install -e '.[label]'"
        ) from None
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def _device(name: str) -> torch.device:
    """The device of that name, or the fastest that there is.

    Raises RlqkitError if it isn't there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RlqkitError(
            f"device {name} can't be used ({one_line(error)[:120]}): use auto, cpu, cuda or mps"
        ) from None
    return device


def _owned(images: Sequence[Image]) -> list[Image]:
    """Copies that may be written to, as torch wants arrays that it shares."""
    return [np.array(image) for image in images]


def _joints_of(person: dict[str, torch.Tensor]) -> NDArray[np.float64]:
    columns = [person["keypoints"], person["scores"][:, None]]
    joints: NDArray[np.float64] = torch.cat(columns, dim=1).double().numpy()
    return joints
