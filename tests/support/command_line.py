"""The command line in this process, and the smoke profile on the tiny data set as its options."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from rlqkit.cli import main


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def rlqkit(*arguments: str | Path) -> Outcome:
    """Run `rlqkit` with these arguments; anything but a clean exit is raised as it is."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def smoke_options(data: Path, results: Path, **changes: object) -> list[str]:
    """Options of train and reproduce; `training__steps=5` stands for `--set training.steps=5`."""
    changes = {"data__root": data, "data__external_root": data, **changes}
    sets = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    pairs = [option for text in sets for option in ("--set", text)]
    return ["--profile", "smoke", "--results", str(results), *pairs]
