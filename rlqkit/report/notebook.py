"""What every notebook starts with: its configuration, a banner, the look of its figures."""

from __future__ import annotations

import dis
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

from IPython.core.getipython import get_ipython
from matplotlib.figure import Figure

from rlqkit.config import Config, given_overrides, load_profile, with_overrides
from rlqkit.errors import RlqkitError, one_line
from rlqkit.method.rows import find_row
from rlqkit.report.comparison import has_figures, how_to_train
from rlqkit.report.style import is_synthetic, use_style
from rlqkit.runs.device import use_all_cores, use_threads
from rlqkit.runs.environment import environment
from rlqkit.runs.folder import RunFolder, profile_folder
from rlqkit.runs.plan import teacher_config
from rlqkit.runs.workers import is_worker

Needed = Literal["weights", "features"]


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
        RlqkitError: unknown profile or key, impossible value, overrides that are no dict; an
            unknown data set.
    """
    changes = {"runtime.results": results, "seed": seed, **given_overrides(overrides)}
    config = load_profile(profile, changes)
    if get_ipython() is not None and not is_worker():  # a kernel alone on the machine: all of it
        use_all_cores()
    use_threads(config)
    use_style()
    versions = environment()["versions"]
    print(", ".join(f"{name} {versions[name]}" for name in ("rlqkit", "torch", "timm", "numpy")))
    print(f"profile {profile}, seed {seed}, images {config.data.height} x {config.data.width}")
    if is_synthetic(config.data):
        print("SYNTHETIC data: rendered people. No figure here is a result on a real benchmark.")
    if profile != "paper":
        print(f"Settings of the {profile} profile, not the paper's; see rlqkit/profiles.")
    return config


def finished_run(
    config: Config, row: str, seed: int | None = None, needs: Sequence[Needed] = ()
) -> RunFolder:
    """The finished run of a row: the reader's own, or the one that came with the kit.

    Nothing trains behind a reader's back. Where a shipped run stands in, a line says so.

    Args:
        config: everything but row and seed, which must fit exactly.
        row: name.
        seed: training seed; None = the configuration's.
        needs: what the caller reads beside the figures, of which shipped runs bring only some.

    Raises:
        RlqkitError: there is neither, or the shipped one lacks what is needed; the message names
            the command that makes it.
    """
    changes = {"row": row, "seed": config.seed if seed is None else seed}
    wanted = with_overrides(config, changes)
    return _own_or_shipped(wanted, how_to_train(wanted, row), needs)


def teacher_run(config: Config, needs: Sequence[Needed] = ()) -> RunFolder:
    """The finished run of the teacher of a configuration; as :func:`finished_run`."""
    return _own_or_shipped(teacher_config(config), how_to_train(config, "tad"), needs)


def _own_or_shipped(wanted: Config, command: str, needs: Sequence[Needed]) -> RunFolder:
    own, shipped = RunFolder.of(wanted), RunFolder.shipped(wanted)
    if own.finished:
        return own
    title = f"{find_row(wanted.row).title}, seed {wanted.seed}"
    whole = f"or the whole profile with: rlqkit reproduce --profile {wanted.profile}"
    if not has_figures(shipped):
        raise RlqkitError(
            f"{title}: {own.path} is not finished, and no such run is shipped; {command}, {whole}"
        )
    lacking = [kind for kind in needs if not any(shipped.path.glob(f"{kind}*.safetensors"))]
    if lacking:
        raise RlqkitError(
            f"{title}: {own.path} is not finished, and the shipped run has no "
            f"{' and no '.join(lacking)}; {command}, {whole}"
        )
    print(f"{title}: you have no run of it, so the shipped one is shown ({shipped.path.name})")
    return shipped


def runs_or_imported(
    config: Config, rows: Sequence[str], imported: str = "", needs: Sequence[Needed] = ()
) -> dict[str, RunFolder]:
    """Row → finished run of each row, or the one imported run alone.

    Args:
        config: whose runs.
        rows: names of rows.
        imported: run folder of the authors' weights; empty = look at this kit's own runs.
        needs: as in :func:`finished_run`.

    Raises:
        RlqkitError: the imported run has not been measured yet, or is of another data set.
    """
    if not imported:
        return {row: finished_run(config, row, needs=needs) for row in rows}
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


def check_answer(answer: Any, right: Callable[[Any], Any], praise: str, hint: str) -> None:
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
