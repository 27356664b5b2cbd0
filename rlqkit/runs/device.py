"""The machine of a training: device, arithmetic, threads and processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import time
from typing import Literal, get_args

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from threadpoolctl import threadpool_limits

from rlqkit.config import Config, ModelConfig, with_overrides
from rlqkit.errors import RlqkitError, one_line
from rlqkit.files import cache_folder, write_json
from rlqkit.processes import PATIENCE, processes_started
from rlqkit.runs.backbone import build_network
from rlqkit.runs.environment import processor


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


def alone(config: Config) -> Config:
    """The configuration for one process, however many trained by it."""
    return with_overrides(config, {"training.processes": 1})


Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
TRIAL = ModelConfig("resnet10t", "none", channels=(32, 64, 128, 128), stem_width=16)
"""The small profiles' network, on which arithmetics are tried."""


def launch_fabric(config: Config, began: str | None = None) -> Fabric:
    """Device, precision and processes of a training, by Lightning Fabric, which announces none.

    One process on one device; under torchrun its processes, each on its own GPU where there are
    GPUs, on the CPU otherwise.

    Args:
        config: precision.
        began: the precision that a run began with, which it keeps; None = it begins now.

    Raises:
        RlqkitError: more processes than GPUs, or the processes don't find each other.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    precision, processes = precision_in_force(config, began), processes_started()
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


def precision_in_force(config: Config, began: str | None = None) -> Precision:
    """The arithmetic that a configuration means on this machine.

    "auto" is what a run began with, for a run that goes on; otherwise what is fastest here. A GPU
    is trusted to be faster with bf16 if it has it in hardware, a processor is tried. Emulated bf16
    never counts, and several processes on processors compute in float32. "16-mixed" is for GPUs;
    processors take bf16-mixed in its place, and a run that began so goes on so on a GPU.
    """
    if config.training.precision == "16-mixed" and "bf16-mixed" in (began, _half_precision()):
        return "bf16-mixed"
    if config.training.precision != "auto":
        return config.training.precision
    if began in get_args(Precision):
        return began  # type: ignore[return-value]
    if torch.cuda.is_available():
        real = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if real else "32-true"
    if processes_started() > 1:  # a trial in each could end with two answers
        return "32-true"
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return fastest_on_this_processor() if in_hardware else "32-true"


def _half_precision() -> Precision:
    """What Fabric makes of "16-mixed" here; told, so that a run says what it is."""
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return "16-mixed" if accelerated else "bf16-mixed"


WORTH_IT = 0.9
"""bf16-mixed must take less than this share of float32's time, which is the more exact one."""
FOUND = "RLQKIT_ARITHMETIC"
"""Environment variable that tells the processes started from here what was found."""


def fastest_on_this_processor() -> Precision:
    """bf16-mixed or 32-true, by a trial of a fraction of a second.

    Processors that multiply bf16 in hardware aren't all faster with it. The answer is remembered
    by processor and torch version. Where the cache can't be written, this process and those that
    it starts still agree, so that no row of a table is computed otherwise than its neighbours.
    """
    kind = f"{processor()} {torch.__version__}"
    file = cache_folder() / f"precision-{hashlib.sha256(kind.encode()).hexdigest()[:16]}.json"
    known = os.environ.get(FOUND)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(file.read_text(encoding="utf-8"))["precision"]
    if known in get_args(Precision):
        return known  # type: ignore[return-value]
    seconds = {precision: time_trial(precision) for precision in ("32-true", "bf16-mixed")}
    pays = seconds["bf16-mixed"] < WORTH_IT * seconds["32-true"]
    fastest: Precision = "bf16-mixed" if pays else "32-true"
    os.environ[FOUND] = fastest
    with contextlib.suppress(OSError):
        write_json(file, {"precision": fastest, "seconds": seconds, "processor": kind})
    return fastest


def time_trial(precision: str) -> float:
    """Seconds of the best of three steps of a small profile's two branches, channels last.

    All of a step counts, forwards, backwards and Adam: where convolutions gain from bf16, norms
    and conversions may lose it again.
    """
    with torch.random.fork_rng(devices=[]):  # the trial must not move anybody's draws
        network = build_network(TRIAL, ("branch1", "branch2"))
        images = torch.randn(8, 3, 64, 32).to(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(network.parameters(), fused=True)
    best = math.inf
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            features = network(images)
        adam.zero_grad()
        torch.stack([f.square().mean() for f in features.values()]).sum().backward()
        adam.step()
        best = min(best, time.perf_counter() - started)
    return best


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES writes them."""
    count, given = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in given.split(",")][:count]


def side_by_side(jobs: int) -> str:
    """How trainings share this machine's GPUs; empty where there is no choice."""
    gpus = len(visible_gpus())
    if gpus < 2:
        return ""
    if jobs < gpus:
        return f"{jobs} of {gpus} GPUs are used; runtime.jobs={gpus} trains on all of them."
    return f"{jobs} trainings side by side on {gpus} GPUs, each on one of them."


def machine(config: Config, began: str | None = None) -> Fabric:
    """Threads, device and arithmetic of a configuration; ``began`` as in ``launch_fabric``."""
    use_threads(config)
    if torch.cuda.is_available():
        use_same_algorithms()
    return launch_fabric(config, began)


def use_same_algorithms() -> None:
    """A GPU computes the same bits every time: no fastest algorithm of the moment, no atomics.

    An operation without such an algorithm warns and goes on. Processors need none of this.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS first computes
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)


_all_cores = False


def use_all_cores() -> None:
    """From now on this process computes on all cores, whatever a configuration asks for.

    For a notebook that runs alone: the runs that it looks at were made several side by side.
    """
    global _all_cores
    _all_cores = True


def use_threads(config: Config) -> None:
    """Gives torch and numpy's algebra the threads that are asked for, and flushes subnormals.

    Two processes whose algebra takes all cores wait for each other: a decomposition of a tenth of
    a second then took five.

    L2 through Adam drives the weights of dead filters, and their moments, into subnormal numbers,
    which processors compute many times slower (docs/training.md). The setting is the thread's own
    and passes to threads that it starts, so this stands before any work.
    """
    torch.set_flush_denormal(True)
    if config.runtime.threads and not _all_cores:
        torch.set_num_threads(config.runtime.threads)
        threadpool_limits(config.runtime.threads, user_api="blas")
