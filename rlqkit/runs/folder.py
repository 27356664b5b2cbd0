"""Run folders: every number of the kit comes from one.

    results/<profile>/runs/<row>-s<seed>-<hash>/
        config.json         the whole configuration
        environment.json    versions, commit, machine kind, threads, times
        history.json        one record per phase: losses, learning rate, seconds, validation
        metrics.json        every selection rule x protocol x image quality
        per_query.parquet   average precision and first hit of every query
        features.safetensors, weights-<rule>.safetensors, checkpoint.pt    (not committed)

A run is finished when metrics and weights are both there; a finished run is never run twice.
Weights that were not trained here lie in results/<profile>/imported/, with provenance.json and
heads-last.safetensors, without history and checkpoint; they get their metrics when evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from rlqkit.config import Config, config_hash, from_dict, to_dict
from rlqkit.errors import RlqkitError
from rlqkit.files import atomically, write_json
from rlqkit.method.network import Network
from rlqkit.method.rows import find_row
from rlqkit.runs.environment import environment


def run_id(config: Config) -> str:
    """Name of the run's folder: row, seed and a hash of everything that can change its numbers."""
    return f"{config.row}-s{config.seed}-{config_hash(config)}"


def profile_folder(config: Config) -> Path:
    """Where a profile's runs, tables, figures and notebooks go."""
    return Path(config.runtime.results) / config.profile


def reference_folder(profile: str) -> Path:
    """Where the shipped results of a profile lie; nothing is ever written there by a command."""
    return Path(__file__).resolve().parents[2] / "results" / "reference" / profile


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
        """Whether the weights come from somewhere else (see :mod:`rlqkit.authors_weights`)."""
        return (self.path / "provenance.json").is_file()

    def provenance(self) -> dict[str, Any]:
        """Where imported weights come from and what their file claims."""
        return dict(self._json("provenance.json"))

    def start(self, config: Config) -> None:
        """Creates the folder with configuration and environment."""
        self.path.mkdir(parents=True, exist_ok=True)
        values = to_dict(config)
        values["runtime"].pop("results")  # where it lies is not part of what it is
        write_json(self.path / "config.json", values)
        write_json(self.path / "environment.json", environment())

    def config(self) -> Config:
        """The configuration that the run was made with."""
        return from_dict(self._json("config.json"))

    def history(self) -> pd.DataFrame:
        """One row per phase of the training."""
        return pd.DataFrame(self._json("history.json"))

    def metrics(self) -> pd.DataFrame:
        """One row per selection rule, query quality, gallery quality and protocol."""
        return pd.DataFrame(self._json("metrics.json"))

    def environment(self) -> dict[str, Any]:
        """Versions, commit, machine kind and times."""
        return dict(self._json("environment.json"))

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

    def save_per_query(self, table: pd.DataFrame) -> None:
        """Writes the per-query table."""
        self._atomically("per_query.parquet", lambda file: table.to_parquet(file, index=False))

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
        except json.JSONDecodeError as error:
            raise RlqkitError(f"{self.path / name} is not valid JSON ({error})") from None


def find_runs(folder: Path) -> list[RunFolder]:
    """All run folders with metrics below a profile's folder, by name."""
    return [RunFolder(file.parent) for file in sorted(folder.glob("runs/*/metrics.json"))]


def collect_metrics(folder: Path, runs: Sequence[RunFolder] | None = None) -> pd.DataFrame:
    """All metrics of a profile's runs in one table.

    Adds the columns run, row, title, seed, steps, epochs, images, train_seconds.

    Args:
        folder: a profile's results folder.
        runs: only these; default: every run in the folder, whatever its configuration.

    Raises:
        RlqkitError: there is no run.
    """
    tables = []
    for run in find_runs(folder) if runs is None else runs:
        config, history = run.config(), run.history()
        columns = {
            "run": run.path.name,
            "row": config.row,
            "title": find_row(config.row).title,
            "seed": config.seed,
            "steps": int(history["steps"].iloc[-1]),
            "epochs": int(history["epoch"].iloc[-1]) + 1,
            "images": int(history["images"].sum()),
            "train_seconds": float(history["seconds"].sum()),
        }
        tables.append(run.metrics().assign(**columns))
    if not tables:
        raise RlqkitError(f"no finished run under {folder / 'runs'}; run `rlqkit reproduce` first")
    return pd.concat(tables, ignore_index=True)


def _unit(features: NDArray[np.float16]) -> NDArray[np.float32]:
    wide = features.astype(np.float32)
    unit: NDArray[np.float32] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit
