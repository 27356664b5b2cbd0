"""What every notebook starts with: its configuration, a banner, the look of its figures."""

from __future__ import annotations

import dis
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from matplotlib.figure import Figure

from rlqkit.config import Config, given_overrides, load_profile, with_overrides
from rlqkit.errors import RlqkitError, one_line
from rlqkit.report.comparison import how_to_train
from rlqkit.report.style import use_style
from rlqkit.runs.device import use_threads
from rlqkit.runs.environment import environment
from rlqkit.runs.folder import RunFolder, profile_folder
from rlqkit.runs.plan import teacher_config


def start(
    profile: str, results: str, seed: int, overrides: Mapping[str, Any] | str | None = None
) -> Config:
    """Configuration of a notebook, with the banner that a reader should see first.

    Args:
        profile: smoke, quick, laptop or paper.
        results: folder that holds and receives results.
        seed: training seed whose runs the notebook looks at.
        overrides: dotted configuration keys, or JSON of them, as ``papermill -p`` hands it on.

    Raises:
        RlqkitError: unknown profile or key, impossible value, overrides that are no dict.
    """
    changes = {"runtime.results": results, "seed": seed, **given_overrides(overrides)}
    config = load_profile(profile, changes)
    use_threads(config)
    use_style()
    versions = environment()["versions"]
    print(", ".join(f"{name} {versions[name]}" for name in ("rlqkit", "torch", "timm", "numpy")))
    print(f"profile {profile}, seed {seed}, images {config.data.height} x {config.data.width}")
    if config.data.dataset.startswith("wardrobe"):
        print("SYNTHETIC data: rendered people. No figure here is a result on a real benchmark.")
    if profile != "paper":
        print(f"Settings of the {profile} profile, not the paper's; see rlqkit/profiles.")
    return config


def finished_run(config: Config, row: str, seed: int | None = None) -> RunFolder:
    """The finished run of a row.

    Raises:
        RlqkitError: it isn't there; the message names the command that makes it. Nothing trains
            behind a reader's back.
    """
    changes = {"row": row, "seed": config.seed if seed is None else seed}
    wanted = with_overrides(config, changes)
    folder = RunFolder.of(wanted)
    if not folder.finished:
        raise RlqkitError(
            f"{folder.path} is not finished; {how_to_train(wanted, row)}, or the whole profile "
            f"with: rlqkit reproduce --profile {config.profile}"
        )
    return folder


def teacher_run(config: Config) -> RunFolder:
    """The finished run of the teacher of a configuration; raises as :func:`finished_run`."""
    teacher = teacher_config(config)
    folder = RunFolder.of(teacher)
    if not folder.finished:
        raise RlqkitError(f"the teacher isn't trained; {how_to_train(config, 'tad')}")
    return folder


def runs_or_imported(
    config: Config, rows: Sequence[str], imported: str = ""
) -> dict[str, RunFolder]:
    """Row → finished run of each row, or the one imported run alone.

    Args:
        config: whose runs.
        rows: names of rows.
        imported: run folder of the authors' weights; empty = look at this kit's own runs.

    Raises:
        RlqkitError: the imported run has not been measured yet, or is of another data set.
    """
    if not imported:
        return {row: finished_run(config, row) for row in rows}
    folder = RunFolder(Path(imported))
    own = folder.config()
    if not folder.finished:
        raise RlqkitError(
            f"{imported} holds no figures yet; run `rlqkit evaluate {imported}` first"
        )
    if own.data.dataset != config.data.dataset:
        raise RlqkitError(
            f"{imported} is of data set {own.data.dataset}, this notebook of "
            f'{config.data.dataset}; set overrides = {{"data.dataset": "{own.data.dataset}"}}'
        )
    return {own.row: folder}


def save_figure(figure: Figure, name: str, config: Config) -> Path:
    """Writes a figure as ``results/<profile>/figures/<name>.png`` (130 dots per inch)."""
    folder = profile_folder(config) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.png"
    # no date and no version in the file, so the same figure is the same bytes
    figure.savefig(file, dpi=130, bbox_inches="tight", metadata={"Software": None})
    return file


def check_answer(
    answer: Any, right: Callable[[Any], Any] | str, praise: str, hint: str = ""
) -> None:
    """Checks the answer to an exercise: says what is right, or raises with a hint.

    An exercise that is still blank is said to be so, and the notebook goes on.

    Args:
        answer: the reader's; ``...``, a collection with ``...`` in it and a function whose body is
            ``...`` are blank.
        right: whether an answer is right. It may raise, which counts as no.
        praise: why the right answer is right.
        hint: for a wrong one.

    Raises:
        AssertionError: the answer is wrong.
    """
    if isinstance(right, str):  # condition, praise, hint: notebooks with one exercise
        assert answer, praise
        print(f"Right. {right}")
        return
    if is_blank(answer):
        print("Not answered yet: fill in the cell above, run it and then this one.")
        return
    try:
        verdict = bool(right(answer))
    except Exception as error:  # a function of the reader's may fail in any way
        trouble = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise AssertionError(f"Not yet ({trouble}). {hint}") from error
    if not verdict:
        raise AssertionError(f"Not yet. {hint}")
    print(f"Right. {praise}")


def is_blank(answer: Any) -> bool:
    """Whether an answer is still ``...``, or a function that does nothing, or holds ``...``."""
    if isinstance(answer, tuple | list):
        return any(is_blank(part) for part in answer)
    if isinstance(answer, dict):
        return any(is_blank(part) for part in answer.values())
    if isinstance(answer, FunctionType):
        steps = [step for step in dis.get_instructions(answer) if step.opname not in PREAMBLE]
        does = [step.opname for step in steps]
        return does in EMPTY_BODIES and steps[0].argval in (None, ...)
    return answer is ...


PREAMBLE = ("RESUME", "NOP")
EMPTY_BODIES = (["RETURN_CONST"], ["LOAD_CONST", "RETURN_VALUE"])
"""What a function does that gives back a constant, in several versions of Python."""
