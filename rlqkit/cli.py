"""The command line: ``rlqkit reproduce | train | evaluate | data | rows``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rlqkit import __version__
from rlqkit.errors import RlqkitError, one_line

EXIT_USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors a user can mend are one line on stderr and exit code 2."""
    try:
        cli.main(args=arguments, prog_name="rlqkit", standalone_mode=False)
    except RlqkitError as error:
        click.echo(f"error: {one_line(error)}", err=True)
        sys.exit(EXIT_USER_ERROR)
    except OSError as error:  # disk full, no permission, a file where a folder should be
        hint = "mend that and run the same command again, finished work is kept"
        click.echo(f"error: {one_line(error)}; {hint}", err=True)
        sys.exit(EXIT_USER_ERROR)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo(
            "stopped; run the same command again to go on from the last checkpoint", err=True
        )
        sys.exit(130)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)


def _configured(command: Any) -> Any:
    """Options that choose a configuration, shared by commands that need one."""
    for option in reversed(
        (
            click.option("--profile", help="smoke, quick, laptop or paper (default: quick)."),
            click.option("--config", "config_file", type=click.Path(path_type=Path),
                         help="TOML file instead of, or on top of, a profile."),
            click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
                         help="Change one field, such as --set training.steps=100. Repeatable."),
            click.option("--results", help="Folder for results (default: results)."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def _config(
    profile: str | None, file: Path | None, changes: Sequence[str], results: str | None
) -> Any:
    from rlqkit.config import load_file, load_profile, parse_override

    overrides = dict(parse_override(text) for text in changes)
    if results:
        overrides["runtime.results"] = results
    if file is not None:
        return load_file(file, overrides, profile)
    return load_profile(profile or "quick", overrides)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """RLQ for clothes-changing person re-identification: run it, look inside, check it.

    Start with `rlqkit reproduce --profile quick`: it trains every row of the ablation on the
    rendered data set that ships with the kit and executes the notebooks.
    """


@cli.command()
@_configured
@click.option("--notebooks/--no-notebooks", default=True, help="Execute the notebooks too.")
def reproduce(
    profile: str | None, config_file: Path | None, changes: Sequence[str], results: str | None,
    notebooks: bool,
) -> None:  # fmt: skip
    """Train every row of a profile, write tables, execute the notebooks.

    Finished runs are kept and killed ones resumed: repeat the command as often as you like.
    """
    config = _config(profile, config_file, changes, results)
    from rlqkit.reproduce import reproduce as run_everything  # imports torch

    run_everything(config, notebooks, click.echo)


@cli.command()
@_configured
@click.option("--row", help="Row of the ablation, see `rlqkit rows` (default: rlq).")
@click.option("--seed", type=int, help="Training seed (default: 1).")
def train(
    profile: str | None, config_file: Path | None, changes: Sequence[str], results: str | None,
    row: str | None, seed: int | None,
) -> None:  # fmt: skip
    """Train and evaluate one row with one seed (and its teacher first, if it needs one)."""
    default = [] if config_file else ["row=rlq"]
    given = [f"{k}={v}" for k, v in {"row": row, "seed": seed}.items() if v is not None]
    config = _config(profile, config_file, [*default, *changes, *given], results)
    from rlqkit.experiment import run  # imports torch: an error above doesn't wait for it

    folder = run(config)
    click.echo(_figures(folder.metrics()))
    click.echo(f"run folder: {folder.path}")


@cli.command()
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.option("--rule", default="last", show_default=True,
              help="Epoch to evaluate: last, best_validation or best_test.")  # fmt: skip
def evaluate(run_folder: Path, rule: str) -> None:
    """Evaluate a finished run anew from its weights and print every figure."""
    from rlqkit.experiment import evaluate as evaluate_run
    from rlqkit.runs import RunFolder

    click.echo(_figures(evaluate_run(RunFolder(run_folder), rule).metrics))


@cli.command("export-backbone")
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def export_backbone(run_folder: Path, file: Path) -> None:
    """Write a finished run's backbone to FILE, for other runs to start from (model.weights)."""
    from rlqkit.experiment import export_backbone as export
    from rlqkit.runs import RunFolder

    export(RunFolder(run_folder), file)
    click.echo(f"wrote {file}; use it with --set model.weights={file}")


@cli.command()
def rows() -> None:
    """List the rows of the ablation: names, loss terms, what each shows."""
    from rlqkit.rows import ROWS, TEACHER

    for row in (*ROWS.values(), TEACHER):
        terms = ", ".join([*row.terms, *row.tad_terms])
        click.echo(f"{row.name:12} {row.explanation}\n{'':12} {terms}")


@cli.group()
def data() -> None:
    """Look at a data set, check and audit it, render or export one."""


_DATA_OPTIONS = (
    click.argument("name", default="wardrobe-v1"),
    click.option(
        "--root", type=click.Path(path_type=Path), help="Its folder, if not the usual one."
    ),
)


def _data_command(command: Any) -> Any:
    for option in reversed(_DATA_OPTIONS):
        command = option(command)
    return command


@data.command("check")
@_data_command
def data_check(name: str, root: Path | None) -> None:
    """Check every byte and label of a data set; exit code 2 if anything is wrong."""
    from rlqkit import datasets

    report = datasets.check(datasets.load(name, root))
    click.echo(report.to_string())
    problems = report[~report["ok"]]
    if len(problems):
        raise RlqkitError(
            f"{name}: {len(problems)} problems, the first: {problems.iloc[0]['subject']} "
            f"({problems.iloc[0]['check']}); {datasets.RENEW}"
        )


@data.command("describe")
@_data_command
def data_describe(name: str, root: Path | None) -> None:
    """Print images, identities, outfits, cameras and sizes of each split."""
    from rlqkit import datasets

    click.echo(datasets.describe(datasets.load(name, root)).to_string())


@data.command("render")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "name",
    default="wardrobe-v1",
    show_default=True,
    help="wardrobe-v1, or wardrobe-start (whom the quick profile's weights have seen).",
)
@click.option("--seed", type=int, help="Another set of people than that of the name.")
@click.option("--processes", default=1, show_default=True, help="Rendering processes.")
def data_render(folder: Path, name: str, seed: int | None, processes: int) -> None:
    """Render a synthetic data set into FOLDER (needs: pip install rlqkit[render]).

    A killed rendering goes on where it stopped; the number of processes doesn't change the images.
    """
    from dataclasses import replace

    from rlqkit.render.generate import SPECS, render_dataset

    if name not in SPECS:
        raise RlqkitError(f'no rendered set "{name}"; there are {", ".join(SPECS)}')
    spec = SPECS[name] if seed is None else replace(SPECS[name], seed=seed)
    render_dataset(folder, spec, processes)


@data.command("audit")
@_data_command
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path),
    help="Finished run (of row base, say): also show what carries identity.",
)
@click.option("--labels/--no-labels", default=True, help="Audit joints, masks and gender too.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write the tables to.")
def data_audit(
    name: str, root: Path | None, run_folder: Path | None, labels: bool, output: Path | None
) -> None:  # fmt: skip
    """What finds a person without looking at the person? Exit code 2 if anything leaks.

    Background, colours, camera, image size and file order each search the gallery; under CC all
    must be at chance. Labels are checked against one another and the renderer.
    """
    from rlqkit import audit, datasets
    from rlqkit.label_audit import audit_labels
    from rlqkit.runs import RunFolder

    benchmark = datasets.load(name, root)
    shortcuts = audit.audit_shortcuts(benchmark["query"], benchmark["gallery"], progress=True)
    _show(shortcuts, "audit_shortcuts", output)
    problems = [f"{shortcut} leaks" for shortcut in audit.leaking(shortcuts)]
    if run_folder is not None:
        cues = audit.identity_cues(RunFolder(run_folder), benchmark, progress=True)
        _show(cues, "audit_identity_cues", output)
    if labels:
        checked = audit_labels(benchmark, progress=True)
        _show(checked, "audit_labels", output)
        problems += [f"{r.check} ({r.split})" for r in checked[~checked["ok"]].itertuples()]
    if problems:
        raise RlqkitError(f"{name}: {'; '.join(problems)}; mend that and render the set again")


@data.command("calibrate")
@click.argument("run_folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rule", default="last", show_default=True, help="Epoch of the base model.")
@click.option("--curves/--no-curves", default=True, help="Severity curves too (needs weights).")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write the tables to.")
def data_calibrate(
    run_folders: Sequence[Path], rule: str, curves: bool, output: Path | None
) -> None:  # fmt: skip
    """Is the data set as hard as meant? Takes RUN_FOLDERS of rows base (any seeds) and teacher."""
    from rlqkit import calibration
    from rlqkit.runs import RunFolder

    folders = [RunFolder(folder) for folder in run_folders]
    _show(calibration.calibration_table(folders, rule), "calibration", output)
    base = [folder for folder in folders if folder.config().row == "base"]
    if curves and base:
        _show(calibration.severity_curves(base, progress=True), "severity_curves", output)


@data.command("export")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--layout", required=True, help="ltcc, prcc or market.")
@click.option("--root", type=click.Path(path_type=Path), help="The data set's folder.")
def data_export(name: str, folder: Path, layout: str, root: Path | None) -> None:
    """Write data set NAME into FOLDER as another benchmark lays its files out.

    For other people's code. A killed export goes on where it stopped.
    """
    from rlqkit import datasets
    from rlqkit.export import export

    click.echo(f"wrote {export(datasets.load(name, root), folder, layout)}")


def _show(table: Any, name: str, output: Path | None) -> None:
    """Print a table, and write it as <output>/<name>.csv if there is such a folder to write to."""
    click.echo(table.round(2).to_string(index=False) + "\n")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        table.round(4).to_csv(output / f"{name}.csv", index=False, lineterminator="\n")


def _figures(metrics: Any) -> str:
    shown = metrics.copy()
    for name in ("rank1", "rank5", "rank10", "mAP"):
        shown[name] = (100 * shown[name]).round(1)
    return str(shown.to_string(index=False))
