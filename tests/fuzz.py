"""Mutated inputs: whatever a file holds, the kit ends with one line and exit code 2.

    python tests/fuzz.py [--seed 0] [--cases 250]

Each case spoils one file that a command reads, in one way, runs the command in this process, and
puts the file back. Silent acceptance, a traceback and an endless run are what it looks for. The
suite runs a short part of it (tests/test_fuzz.py).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "support")]

import torch
from command_line import Outcome, rlqkit, smoke_options
from conftest import write_tiny_wardrobe

from rlqkit.data import loaders

Mutation = Callable[[bytes, random.Random], bytes]
MUTATIONS: dict[str, Mutation] = {
    "empty": lambda content, rng: b"",
    "truncated": lambda content, rng: content[: rng.randrange(1, max(2, len(content) - 8))],
    "head overwritten": lambda content, rng: rng.randbytes(64) + content[64:],
    "not UTF-8": lambda content, rng: b"\xff\xfe\x00" + content,
    "a web page": lambda content, rng: b"<!DOCTYPE html><html><body>404</body></html>",
    "an LFS pointer": lambda content, rng: b"version https://git-lfs.github.com/spec/v1\noid 0\n",
    "a number": lambda content, rng: b"42",
    "a list": lambda content, rng: b"[1, 2, 3]",
    "noise": lambda content, rng: rng.randbytes(2048),
    "zeros": lambda content, rng: bytes(len(content)),
    "null bytes inside": lambda content, rng: content[:100] + bytes(5) + content[105:],
}


@dataclass(frozen=True)
class Target:
    """A file and the command that reads it.

    discard: what the command writes, taken away before each case. except_for: mutations that leave
    a file as good as before (a picture with five other bytes in it is a picture).
    """

    name: str
    file: Path
    command: tuple[str | Path, ...]
    discard: Path | None = None
    except_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A case that ended otherwise than it should."""

    target: str
    mutation: str
    what: str


def prepare(folder: Path) -> list[Target]:
    """A tiny data set, a finished run, weights and a configuration, each with its command."""
    data, results = write_tiny_wardrobe(folder / "wardrobe-v2"), folder / "results"
    short = {"training__steps": 2, "evaluation__selection": '["last"]'}
    options = smoke_options(data, results, **short)
    assert rlqkit("train", "--row", "cal", *options).code == 0
    (run,) = results.glob("smoke/runs/cal-*")
    backbone, toml = folder / "backbone.safetensors", folder / "mine.toml"
    assert rlqkit("train", "--row", "base-plain", *options).code == 0
    (plain,) = results.glob("smoke/runs/base-plain-*")
    assert rlqkit("export-backbone", plain, backbone).code == 0
    toml.write_text('profile = "smoke"\n[training]\nsteps = 2\n', encoding="utf-8")
    released = folder / "released.pth.tar"
    torch.save({"model_state_dict": {}}, released)
    check = ("data", "check", "wardrobe-v2", "--root", data)
    train = ("train", "--row", "cal", *options)
    other = folder / "other"
    fresh = smoke_options(data, other, **short, model__weights=backbone)
    anew = ("train", "--row", "cal", *fresh)
    image, mask = (min((data / d / "train").iterdir()) for d in ("images", "masks"))
    return [
        Target("image", image, check),
        Target("mask", mask, check),
        Target("samples.csv", data / "samples.csv", check),
        Target("joints.csv", data / "joints.csv", check),
        Target("dataset.json", data / "dataset.json", check),
        Target("SHA256SUMS", data / "SHA256SUMS", check),
        Target("image in training", image, anew, other, ("null bytes inside",)),
        Target("samples.csv in training", data / "samples.csv", train),
        Target("config.json", run / "config.json", ("evaluate", run)),
        Target("config.json in training", run / "config.json", train),
        Target("metrics.json", run / "metrics.json", train),
        Target("weights", run / "weights-last.safetensors", ("evaluate", run)),
        Target("checkpoint", run / "checkpoint.pt", train),
        Target("starting weights", backbone, anew, other),
        Target("configuration", toml, ("plan", "--config", toml), None, ("truncated",)),
        Target("released weights", released, ("import-weights", released, "--results", results)),
    ]


def run_case(target: Target, mutation: str, rng: random.Random) -> Finding | None:
    """Spoils the file, runs the command, puts the file back."""
    content = target.file.read_bytes()
    metrics = target.file.parent / "metrics.json"
    finished = metrics.read_bytes() if target.name == "checkpoint" else None
    try:
        target.file.write_bytes(MUTATIONS[mutation](content, rng))
        if finished is not None:
            metrics.unlink()  # or the checkpoint would not be read
        loaders.image_store.cache_clear()
        if target.discard is not None:
            shutil.rmtree(target.discard, ignore_errors=True)
        outcome = rlqkit(*target.command)
    except BaseException:
        last = traceback.format_exc().strip().splitlines()[-1]
        return Finding(target.name, mutation, f"traceback: {last[:200]}")
    finally:
        target.file.write_bytes(content)
        if finished is not None:
            metrics.write_bytes(finished)
    return _judged(target, mutation, outcome)


def _judged(target: Target, mutation: str, outcome: Outcome) -> Finding | None:
    lines = [line for line in outcome.err.splitlines() if line.startswith("error")]
    if outcome.code == 0:
        return Finding(target.name, mutation, "accepted without a word")
    if outcome.code != 2 or len(lines) != 1 or "Traceback" in outcome.err:
        return Finding(target.name, mutation, f"exit code {outcome.code}: {outcome.err[-200:]}")
    return None


def fuzz(folder: Path, seed: int, cases: int) -> list[Finding]:
    """Runs cases drawn by a seed, every pair of file and mutation once before any comes again."""
    rng, targets = random.Random(seed), prepare(folder)
    pairs = [
        (t, mutation) for t in targets for mutation in MUTATIONS if mutation not in t.except_for
    ]
    drawn: list[tuple[Target, str]] = []
    while len(drawn) < cases:
        rng.shuffle(pairs)
        drawn += pairs
    found = [run_case(target, mutation, rng) for target, mutation in drawn[:cases]]
    return [finding for finding in found if finding]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=250)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    found = fuzz(folder, given.seed, given.cases)
    shutil.rmtree(folder)
    for finding in found:
        print(f"{finding.target}, {finding.mutation}: {finding.what}")
    print(f"{given.cases} cases, {len(found)} findings")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
