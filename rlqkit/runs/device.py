"""The machine of a training: device, arithmetic, threads and processes."""

from __future__ import annotations

import logging
import os
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from rlqkit.config import Config, with_overrides
from rlqkit.errors import RlqkitError, one_line
from rlqkit.processes import PATIENCE, processes_started


def adopt_processes(config: Config) -> Config:
    """The configuration with ``training.processes`` as torchrun has it.

    Raises:
        RlqkitError: the configuration asks for another number of processes than there are.
    """
    wanted, started = config.training.processes, processes_started()
    if wanted == started:
        return config
    if wanted == 1:
        return with_overrides(config, {"training.processes": started})
    raise RlqkitError(
        f"training.processes = {wanted}, but {started} run; start with "
        f"torchrun --nproc-per-node {wanted} -m rlqkit train …"
    )


Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def launch_fabric(config: Config) -> Fabric:
    """Device, precision and processes of a training, by Lightning Fabric, which announces none.

    One process on one device; under torchrun its processes, each on its own GPU where there are
    GPUs, on the CPU otherwise.

    Raises:
        RlqkitError: more processes than GPUs, or the processes don't find each other.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    precision, processes = precision_in_force(config), processes_started()
    if processes == 1:
        return Fabric(accelerator="auto", devices=1, precision=precision)
    here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if 0 < gpus < here:
        raise RlqkitError(
            f"torchrun started {here} processes on a machine with {gpus} GPUs; use "
            f'--nproc-per-node {gpus}, or set CUDA_VISIBLE_DEVICES="" to train on the CPU'
        )
    strategy = DDPStrategy(timeout=PATIENCE)
    fabric = Fabric(
        accelerator="auto", devices=here, num_nodes=processes // here, strategy=strategy,
        precision=precision,
    )  # fmt: skip
    try:
        fabric.launch()
    except RuntimeError as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise RlqkitError(
            f"{processes} processes don't find each other at {where} ({one_line(error)[:120]}); "
            "on one machine, torchrun --standalone finds a free port"
        ) from error
    return fabric


def precision_in_force(config: Config) -> Precision:
    """The arithmetic that a configuration means on this machine.

    "auto" is bf16-mixed where the processor multiplies bf16 in hardware (there it is two to three
    times faster than float32; elsewhere it is emulated and slower), and 32-true otherwise.
    """
    if config.training.precision != "auto":
        return config.training.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if in_hardware else "32-true"


def machine(config: Config) -> Fabric:
    """Threads, device and arithmetic of a configuration, where nothing is trained."""
    use_threads(config)
    return launch_fabric(config)


def use_threads(config: Config) -> None:
    """Gives torch the number of threads that the configuration asks for."""
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
