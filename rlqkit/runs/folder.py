"""Run folders: every number of the kit comes from one.

    results/<profile>/runs/<row>-s<seed>-<hash>/
        config.json         the whole configuration, digests of what was read
        environment.json    versions, commit, machine kind, threads, times
        history.json        one record per phase: losses, learning rate, seconds, validation
        metrics.json        every selection rule x protocol x image quality
        per_query.parquet   average precision and first hit of every query
        collapse.json       person by person, whom LQ images of the last epoch lie next to; absent
                            where the headline's queries can't be asked (one camera)
        poses.safetensors   rows with pose: the pose clusters of the training images
        features.safetensors, weights-<rule>.safetensors, checkpoint.pt    (not committed)

A run is finished when metrics and weights are both there; a finished run is never run twice.
Weights that were not trained here lie in results/<profile>/imported/, with provenance.json and
heads-last.safetensors, without history and checkpoint; they get their metrics when evaluated.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from rlqkit import __version__
from rlqkit.config import (
    AveragingConfig,
    CapConfig,
    CompatConfig,
    Config,
    ContinuingConfig,
    DataConfig,
    ModelConfig,
    RecolouringConfig,
    TeacherConfig,
    config_hash,
    flatten,
    from_dict,
    is_hashed,
    to_dict,
)
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.collapse import PersonSums
from rlqkit.evaluation.protocol import headline_name
from rlqkit.files import atomically, write_json
from rlqkit.method.attributes import PoseClusters
from rlqkit.method.network import Network
from rlqkit.method.rows import Row, find_row
from rlqkit.progress import Say
from rlqkit.runs.environment import environment


def run_id(config: Config) -> str:
    """Name of the run's folder: row, seed and a hash of everything that can change its numbers."""
    return f"{config.row}-s{config.seed}-{config_hash(what_counts(config))}"


def what_counts(config: Config) -> Config:
    """The configuration with every key that its row doesn't use at the default.

    So a sweep over K doesn't train base again, and two spellings of the same switches are one run.
    A mean of rows uses what they use, a row what the one that it begins with uses, and what its
    teacher uses.
    """
    row, compat = find_row(config.row), config.compat
    rows, taught = _rows_behind(config)
    switches = {f.name: compat.switch(f.name) for f in fields(compat) if f.name != "preset"}
    if not row.mean_of:
        config = replace(config, averaging=AveragingConfig())
    if not any(r.begins_with for r in rows):
        config = replace(config, continuing=ContinuingConfig())
    if not any(r.uses_pose for r in rows):
        config = replace(config, cap=CapConfig())
        config = replace(config, model=replace(config.model, pose_from=ModelConfig.pose_from))
    if not any(r.recolour for r in rows):
        config = replace(config, recolouring=RecolouringConfig())
        switches["mask_overlap"] = "clean"
    if not taught:
        config = replace(config, teacher=TeacherConfig())
    if not any(r.uses_tad for r in rows):
        switches |= {"external_order": "clean", "zero_grad": "clean"}
    if config.training.processes == 1:
        switches["triplet_gradient"] = "clean"
    if not any(r.uses_tad or r.external for r in rows):
        usual = DataConfig()
        external = ("external", "external_identities", "external_images")
        data = {name: getattr(usual, name) for name in external}
        config = replace(config, data=replace(config.data, **data))
    return replace(config, compat=CompatConfig(**switches))


def _rows_behind(config: Config) -> tuple[list[Row], bool]:
    """The rows that a run's numbers come from, its own first; whether a teacher's is among them."""
    row = find_row(config.row)
    rows = [row, *map(find_row, row.mean_of)]
    rows += [find_row(r.begins_with) for r in rows if r.begins_with]
    taught = any(r.uses_tad and not r.begins_with for r in rows)
    return rows + ([find_row(config.teacher.row)] if taught else []), taught


def parts_in_use(config: Config) -> dict[str, set[str]]:
    """What a run's numbers come from: target, external → parts, as ``fingerprint`` names them.

    Labels and masks count where a row trains on them, so that adding the ones that a row doesn't
    use leaves its runs as they are.
    """
    used = {"target": {"images"}, "external": {"images"}}
    for row in _rows_behind(config)[0]:
        needs = {"gender": row.uses_gender, "poses": row.uses_pose, "masks": row.recolour}
        used["external" if row.external else "target"] |= {part for part in needs if needs[part]}
    return used


def profile_folder(config: Config) -> Path:
    """Where a profile's runs, tables, figures and notebooks go."""
    return Path(config.runtime.results) / config.profile


def reference_folder(profile: str) -> Path:
    """Where the shipped results of a profile lie; nothing is ever written there by a command."""
    return Path(__file__).resolve().parents[2] / "results" / "reference" / profile


RECORDS = ("config.json", "environment.json", "history.json", "metrics.json")
"""Files that every trained run has beside its queries, weights and descriptors."""
COLLAPSE = "collapse.json"
"""File of a run's measures of collapse; absent where its headline's queries can't be asked."""


KIT, READ = "kit", "read"
"""Keys of config.json beside the configuration: version of the kit, digests of what was read."""


BEFORE = "before"
"""Key of environment.json: what the run cost that this one begins with."""


POSE_ARRAYS = ("labels", "centres", "skeletons", "counts")
"""Fields of pose clusters that are kept as arrays."""


@dataclass(frozen=True)
class RunFolder:
    """One run on disk; a thin reader and writer, with no knowledge of training."""

    path: Path

    @classmethod
    def of(cls, config: Config) -> RunFolder:
        """The folder that belongs to a configuration, whether it exists or not."""
        return cls(profile_folder(config) / "runs" / run_id(config))

    @classmethod
    def shipped(cls, config: Config) -> RunFolder:
        """The folder of a configuration's run among the shipped results, if it is there."""
        return cls(reference_folder(config.profile) / "runs" / run_id(config))

    @property
    def finished(self) -> bool:
        """Whether metrics and weights are both there."""
        return (self.path / "metrics.json").is_file() and (
            self.path / "weights-last.safetensors"
        ).is_file()

    @property
    def imported(self) -> bool:
        """Whether the weights come from somewhere else (see ``runs.released_weights``)."""
        return (self.path / "provenance.json").is_file()

    def provenance(self) -> dict[str, Any]:
        """Where imported weights come from and what their file claims."""
        return dict(self._json("provenance.json"))

    def precision(self) -> str | None:
        """The arithmetic that the run began with; None if it hasn't begun."""
        if not (self.path / "environment.json").is_file():
            return None
        return self.environment().get("precision")

    def start(
        self,
        config: Config,
        read: Mapping[str, Mapping[str, str]] | None = None,
        precision: str | None = None,
    ) -> None:
        """Creates the folder with configuration and environment.

        Args:
            config: of the run.
            read: what it reads: target, external, weights → part → digest.
            precision: arithmetic in force.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        values = to_dict(config)
        values["runtime"].pop("results")  # where it lies is not part of what it is
        write_json(self.path / "config.json", {**values, KIT: __version__, READ: read or {}})
        made_with = environment() | ({"precision": precision} if precision else {})
        write_json(self.path / "environment.json", made_with)

    def config(self) -> Config:
        """The configuration that the run was made with.

        Raises:
            RlqkitError: there is none, or this version of the kit can't read it.
        """
        values = self._json("config.json")
        made_by = "another"
        if isinstance(values, dict):
            made_by = values.pop(KIT, "an older")
            values.pop(READ, None)
        try:
            return from_dict(values)
        except RlqkitError as error:
            raise RlqkitError(
                f"{self.path / 'config.json'} is of {made_by} version of rlqkit, this is "
                f"{__version__} ({error}); use that version, or move the run folder away"
            ) from None

    def require_same(self, config: Config, read: Mapping[str, Mapping[str, str]]) -> None:
        """Refuses a run that was begun with other data, labels, masks, weights or settings.

        Labels and masks that the run doesn't use don't count; older kits kept their digests too.

        Raises:
            RlqkitError: a digest differs from the one kept in config.json, or a key that counts
                has another value there (an older kit with other defaults); it is named.
        """
        if not (self.path / "config.json").is_file():
            return
        mine, theirs = (flatten(to_dict(what_counts(c))) for c in (config, self.config()))
        for key, value in theirs.items():
            if is_hashed(key) and mine[key] != value:
                raise RlqkitError(
                    f"{self.path} was begun with {key} = {value} and not {mine[key]}; use another "
                    "--results folder, or delete the run folder"
                )
        began = self._json("config.json").get(READ) or {}
        used = parts_in_use(config)
        for source, parts in began.items():
            for part, digits in parts.items():
                counts = part in used.get(source, parts)
                if counts and read.get(source, {}).get(part) != digits:
                    raise RlqkitError(
                        f"{self.path} was begun with other {part} of the {source}; give the ones "
                        "it began with, another --results folder, or delete the run folder"
                    )

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """Holds the run folder for this process; others wait, with a line that says for whom.

        The lock ends with the process that holds it, however that ends.
        """
        place = self.path.parent.parent / ".locks" / f"{self.path.name}.lock"
        place.parent.mkdir(parents=True, exist_ok=True)
        holder = place.with_suffix(".holder")
        lock = FileLock(place)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            try:
                who = holder.read_text(encoding="utf-8")
            except OSError:  # it has just come and hasn't said who it is, or is just leaving
                who = "another process"
            say(f"{self.path.name}: waiting for {who}, which works on this run")
            lock.acquire()
        try:
            with atomically(holder) as temporary:
                name = f"process {os.getpid()} on {platform.node()}"
                temporary.write_text(name, encoding="utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def history(self) -> pd.DataFrame:
        """One row per phase of the training."""
        return pd.DataFrame(self._json("history.json"))

    def metrics(self) -> pd.DataFrame:
        """One row per selection rule, query quality, gallery quality and protocol.

        Raises:
            RlqkitError: the file is missing, or holds something else.
        """
        records = self._json("metrics.json")
        wanted = {"query", "gallery", "protocol", "rank1", "mAP"}
        fits = isinstance(records, list) and all(
            isinstance(record, dict) and wanted <= record.keys() for record in records
        )
        if not fits or not records:
            raise RlqkitError(
                f"{self.path / 'metrics.json'} holds no figures of this kit; delete it and run the "
                "same command again, which makes it anew"
            )
        return pd.DataFrame(records)

    def environment(self) -> dict[str, Any]:
        """Versions, commit, machine kind and times."""
        return dict(self._json("environment.json"))

    def before(self) -> dict[str, Any]:
        """What the run cost that this one begins with, as ``cost_of`` says; zeros where none."""
        nothing = dict.fromkeys(("steps", "epochs", "images", "seconds"), 0)
        return nothing | self.environment().get(BEFORE, {})

    def per_query(self) -> pd.DataFrame:
        """One row per query of every condition."""
        file = self._file("per_query.parquet")
        try:
            return pd.read_parquet(file)
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            reason = str(error).splitlines()[0][:160]
            raise RlqkitError(f"{file} can't be read ({reason}); train the run again") from error

    def features(self) -> dict[tuple[str, str], NDArray[np.float32]]:
        """(role, quality) -> (n, D) descriptors of the last epoch, as kept in 16 bits."""
        try:
            arrays = load_arrays(self._file("features.safetensors"))
        except SafetensorError as error:
            raise RlqkitError(f"{self.path.name}/features.safetensors: {error}") from error
        return {(k.split("/")[0], k.split("/")[1]): _unit(v) for k, v in arrays.items()}

    def load_network(self, network: Network, rule: str = "last") -> Network:
        """Loads the weights that a selection rule chose and returns the network in eval mode."""
        file = self._file(f"weights-{rule}.safetensors")
        try:
            state = load_tensors(file)
            network.load_state_dict(state)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise RlqkitError(
                f"{file} does not fit the network of its configuration ({reason}); "
                "delete the run folder and train again"
            ) from error
        network.eval()
        return network

    def save_network(self, state: Mapping[str, torch.Tensor], rule: str) -> None:
        """Writes the weights that a selection rule chose."""
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        self._atomically(f"weights-{rule}.safetensors", lambda file: save_tensors(tensors, file))

    def save_heads(self, state: Mapping[str, torch.Tensor]) -> None:
        """Writes the classifiers of imported weights."""
        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        self._atomically("heads-last.safetensors", lambda file: save_tensors(tensors, file))

    def heads(self) -> dict[str, torch.Tensor]:
        """State dict of the classifiers of imported weights."""
        file = self._file("heads-last.safetensors")
        try:
            return load_tensors(file)
        except SafetensorError as error:
            raise RlqkitError(f"{file} can't be read ({error}); import the weights again") from None

    def save_features(self, features: Mapping[tuple[str, str], NDArray[np.float32]]) -> None:
        """Writes descriptors in 16 bits."""
        arrays = {f"{role}/{q}": v.astype(np.float16) for (role, q), v in features.items()}
        self._atomically("features.safetensors", lambda file: save_arrays(arrays, file))

    def save_collapse(self, sums: PersonSums) -> None:
        """Writes the measures of collapse, person by person."""
        self.save_json(COLLAPSE, sums.to_json())

    def collapse(self) -> PersonSums:
        """The measures of collapse on the headline's queries, person by person.

        Raises:
            RlqkitError: the file is missing, as in runs of older kits, or holds something else.
        """
        try:
            return PersonSums.from_json(self._json(COLLAPSE))
        except (KeyError, TypeError, ValueError):
            raise RlqkitError(
                f"{self.path / COLLAPSE} holds no measures of this kit; delete it, and "
                "tables of collapse leave the run out"
            ) from None

    def save_per_query(self, table: pd.DataFrame) -> None:
        """Writes the per-query table."""
        self._atomically(
            "per_query.parquet",
            lambda file: table.to_parquet(file, index=False, compression="zstd"),
        )

    def save_poses(self, clusters: PoseClusters) -> None:
        """Writes the pose clusters that a run was trained on."""
        arrays = {name: np.ascontiguousarray(getattr(clusters, name)) for name in POSE_ARRAYS}
        about = {"kind": clusters.kind, "inertia": repr(clusters.inertia)}
        self._atomically("poses.safetensors", lambda file: save_arrays(arrays, file, about))

    def poses(self) -> PoseClusters:
        """The pose clusters that the run was trained on; `labels` are of its training images.

        Raises:
            RlqkitError: the row has none, or an older kit trained it.
        """
        file = self._file("poses.safetensors")
        try:
            with safe_open(file, "numpy") as content:
                about = content.metadata()
                arrays = {name: content.get_tensor(name) for name in POSE_ARRAYS}
            return PoseClusters(about["kind"], **arrays, inertia=float(about["inertia"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RlqkitError(f"{file} can't be read ({error}); train the run again") from None

    def save_json(self, name: str, value: Any) -> None:
        """Writes history.json, metrics.json or a new environment.json."""
        write_json(self.path / name, value)

    def _atomically(self, name: str, write: Any) -> None:
        with atomically(self.path / name) as temporary:
            write(temporary)

    def _file(self, name: str) -> Path:
        if not (self.path / name).is_file():
            raise RlqkitError(
                f"run folder {self.path} has no {name}; train the run again "
                "(rlqkit train --profile … --row …)"
            )
        return self.path / name

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self._file(name).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RlqkitError(
                f"{self.path / name} is not valid JSON ({error}); delete it and run the same "
                "command again, which makes it anew"
            ) from None


def find_runs(folder: Path) -> list[RunFolder]:
    """All run folders with metrics below a profile's folder, by name."""
    return [RunFolder(file.parent) for file in sorted(folder.glob("runs/*/metrics.json"))]


def cost_of(history: pd.DataFrame) -> dict[str, Any]:
    """What a training has cost: steps, epochs, images and seconds, from its history."""
    return {
        "steps": int(history["steps"].iloc[-1]),
        "epochs": int(history["epoch"].iloc[-1]) + 1,
        "images": int(history["images"].sum()),
        "seconds": float(history["seconds"].sum()),
    }


def metrics_of(run: RunFolder) -> pd.DataFrame:
    """Metrics of one run; reads each file once.

    Columns run, row, title, seed, steps, epochs, images, train_seconds, headline are added. The
    cost of a run that begins with another one holds that one's.
    """
    config, metrics, cost = run.config(), run.metrics(), cost_of(run.history())
    if find_row(config.row).begins_with:
        cost = {name: value + run.before()[name] for name, value in cost.items()}
    return metrics.assign(
        run=run.path.name,
        row=config.row,
        title=find_row(config.row).title,
        seed=config.seed,
        steps=cost["steps"],
        epochs=cost["epochs"],
        images=cost["images"],
        train_seconds=cost["seconds"],
        headline=headline_name(metrics),
    )


def together(tables: Sequence[pd.DataFrame], folder: Path) -> pd.DataFrame:
    """Tables of ``metrics_of`` in one; raises RlqkitError if there is none from ``folder``."""
    if not tables:
        raise RlqkitError(f"no finished run under {folder / 'runs'}; run `rlqkit reproduce` first")
    return pd.concat(tables, ignore_index=True)


def _unit(features: NDArray[np.float16]) -> NDArray[np.float32]:
    wide = features.astype(np.float32)
    unit: NDArray[np.float32] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit
