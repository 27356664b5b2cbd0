"""The command line: ``rlqkit reproduce | plan | train | evaluate | data | …``."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rlqkit import __version__
from rlqkit.errors import RlqkitError, one_line
from rlqkit.files import use_writable_caches

EXIT_USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors a user can mend are one line on stderr and exit code 2."""
    try:
        _write_what_can_be_written()
        _refuse_undecoded(sys.argv[1:] if arguments is None else arguments)
        cli.main(args=arguments, prog_name="rlqkit", standalone_mode=False)
    except RlqkitError as error:
        click.echo(f"error: {one_line(error)}", err=True)
        sys.exit(EXIT_USER_ERROR)
    except UnicodeEncodeError as error:  # a name that the system's encoding hasn't got
        click.echo(f"error: {ascii(error.object)[:200]} {_no_encoding()}", err=True)
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


def _write_what_can_be_written() -> None:
    """A terminal without an arrow or an umlaut gets its number instead of an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refuse_undecoded(arguments: Sequence[str]) -> None:
    """Paths that Python couldn't decode fail in libraries, some only after a training."""
    if sys.getfilesystemencoding().lower().replace("-", "") == "utf8":
        return
    own = [value for name, value in os.environ.items() if name.startswith("RLQKIT_")]
    for text in (*arguments, *own, os.getcwd()):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise RlqkitError(f"{ascii(text)} {_no_encoding()}")


def _no_encoding() -> str:
    return (
        f"can't be written in the system's encoding ({sys.getfilesystemencoding()}): set "
        "PYTHONUTF8=1 (or LC_ALL=C.UTF-8) and run the same command again, or rename it"
    )


def _configured(command: Any) -> Any:
    """Options that choose a configuration, shared by commands that need one."""
    for option in reversed(
        (
            click.option("--profile", help="smoke, quick, laptop or paper (default: quick)."),
            click.option("--config", "config_file", type=click.Path(path_type=Path),
                         help="TOML file instead of, or on top of, a profile."),
            click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
                         help="Change one field, such as --set training.batch=16. Repeatable."),
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
@click.pass_context
def cli(context: click.Context) -> None:
    """RLQ for clothes-changing person re-identification: run it, look inside, check it.

    Start with `rlqkit reproduce --profile quick`: it trains every row of the ablation on the
    rendered data set that ships with the kit and executes the notebooks.
    """
    use_writable_caches()  # before any library asks for one
    command = context.invoked_subcommand
    if command != "train" and _under_torchrun() and os.environ["WORLD_SIZE"] != "1":
        raise RlqkitError(f"rlqkit {command} is one process; torchrun is for rlqkit train only")


@cli.command()
@_configured
@click.option("--notebooks/--no-notebooks", default=True, help="Execute the notebooks too.")
@click.option(
    "--only",
    metavar="PART",
    help="One part: data (check it), tables, notebooks, or a notebook's name.",
)
def reproduce(
    profile: str | None, config_file: Path | None, changes: Sequence[str], results: str | None,
    notebooks: bool, only: str | None,
) -> None:  # fmt: skip
    """Train every row of a profile, write tables, execute the notebooks.

    Finished runs are kept and killed ones resumed: repeat the command as often as you like.
    """
    config = _config(profile, config_file, changes, results)
    from rlqkit.main_job import reproduce as everything  # imports torch
    from rlqkit.main_job import reproduce_part

    if only:
        reproduce_part(config, only, click.echo)
    else:
        everything(config, notebooks, click.echo)


@cli.command()
@_configured
@click.option("--dataset", help="Target data set, short for --set data.dataset=...")
@click.option(
    "--throughput",
    type=click.FloatRange(min=0, min_open=True),
    help="Images/s, forward and backward, of one ResNet-50 branch at 384 x 192.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Also build model and loaders of each kind of run and take one step.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="The runs of reproduce as jobs, as JSON: ids, order, what each needs.",
)
@click.option(
    "--device",
    type=click.Choice(["gpu", "cpu"]),
    help="Where jobs of --json compute (default: gpu with the paper profile).",
)
def plan(
    profile: str | None, config_file: Path | None, changes: Sequence[str], results: str | None,
    dataset: str | None, throughput: float | None, dry_run: bool, as_json: bool,
    device: Any,
) -> None:  # fmt: skip
    """Print the runs of a profile with their estimated cost; nothing is trained or written.

    With the paper profile, also the runs behind the published figures on the data set. With
    --dry-run the exit code is 2 if any run can't take its first step.
    """
    from rlqkit.config import parse_override

    changes = [*changes, *([f"data.dataset={dataset}"] if dataset else [])]
    config = _config(profile, config_file, changes, results)
    if as_json:
        from rlqkit.runs.jobs import job_plan

        click.echo(json.dumps(job_plan(config, device, throughput or 0.0), indent=1))
        return
    click.echo(
        f"{config.profile}, {config.data.dataset}: counting images, steps and arithmetic ..."
    )
    from rlqkit.runs import dry_run as rehearsal  # imports torch, which takes seconds
    from rlqkit.runs.costs import THROUGHPUT

    own = dict(parse_override(text) for text in changes)
    for part in rehearsal.plan_parts(config, own, throughput or THROUGHPUT):
        click.echo(f"\n{part}")
    if dry_run:
        click.echo("\nDry run, one step of each kind of run (an untrained network teaches):")
        runs = rehearsal.plan_of(config)
        if config.profile == "paper":
            runs += rehearsal.published_plan(config, own)
        failed = rehearsal.dry_run(runs, click.echo)
        if failed:
            raise RlqkitError(f"{failed} kinds of run can't start; mend what stands behind FAILED")


@cli.command()
@_configured
@click.option("--row", help="Row of the ablation, see `rlqkit rows` (default: rlq).")
@click.option("--seed", type=int, help="Training seed (default: 1).")
@click.option(
    "--planned",
    metavar="ID",
    help="Instead of --row and --seed: one run of the plan, as `rlqkit plan --json` names it.",
)
def train(
    profile: str | None, config_file: Path | None, changes: Sequence[str], results: str | None,
    row: str | None, seed: int | None, planned: str | None,
) -> None:  # fmt: skip
    """Train and evaluate one row with one seed (and its teacher first, if it needs one)."""
    default = [] if config_file else ["row=rlq"]
    given = [f"{k}={v}" for k, v in {"row": row, "seed": seed}.items() if v is not None]
    if planned and given:
        raise RlqkitError("--planned names row and seed already; leave --row and --seed out")
    config = _config(profile, config_file, [*default, *changes, *given], results)
    if planned:
        config = _planned(config, planned)
        if config is None:
            return
    from rlqkit.runs.experiment import (
        train_and_evaluate,  # imports torch: an error above doesn't wait for it
    )

    folder = train_and_evaluate(config)
    if _under_torchrun() and os.environ["RANK"] != "0":
        return  # process 0 speaks for all
    click.echo(_figures(folder.metrics()))
    _quote(folder)
    click.echo(f"run folder: {folder.path}")


def _planned(config: Any, name: str) -> Any:
    """The configuration of a planned run; None, with a line, if it is finished: nothing is read."""
    from rlqkit.runs.folder import RunFolder
    from rlqkit.runs.jobs import planned_run

    config = planned_run(config, name)
    folder = RunFolder.of(config)
    if not folder.finished:
        return config
    if not _under_torchrun() or os.environ["RANK"] == "0":
        click.echo(f"finished already: {folder.path}")
    return None


def _quote(folder: Any) -> None:
    """Prints the pair of figures that the paper's authors would quote of a run, if it chose so."""
    from rlqkit.runs.published import as_quoted

    if folder.config().evaluation.selection_by == "rank1":
        quoted = as_quoted(folder.history().to_dict(orient="records"))
        if quoted:
            click.echo(f"as the authors quote: {quoted}")


@cli.command()
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.option("--rule", default="last", show_default=True,
              help="Epoch to evaluate: last, best_validation or best_test.")  # fmt: skip
def evaluate(run_folder: Path, rule: str) -> None:
    """Evaluate a finished run anew from its weights and print every figure."""
    from rlqkit.runs.experiment import evaluate as evaluate_run
    from rlqkit.runs.folder import RunFolder

    click.echo(_figures(evaluate_run(RunFolder(run_folder), rule).metrics))


@cli.command("import-weights")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dataset", default="", help="Trained on: ltcc, prcc, last, deepchange, celeb-reid "
              "(default: told by the number of identities).")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
              help="Change a field of the paper profile, such as data.root.")  # fmt: skip
@click.option("--results", help="Folder for results (default: results).")
def import_weights(file: Path, dataset: str, changes: Sequence[str], results: str | None) -> None:
    """Make a run folder of FILE, a .pth.tar that the authors released; nothing in it is run."""
    from rlqkit.config import parse_override
    from rlqkit.runs.released_weights import import_weights as make_folder

    overrides = dict(parse_override(text) for text in changes)
    if results:
        overrides["runtime.results"] = results
    folder = make_folder(file, dataset, overrides)
    claimed = folder.provenance()["claimed"]
    click.echo(
        f"{folder.config().row}, claimed: rank-1 {claimed['rank1']}, epoch {claimed['epoch']}"
    )
    click.echo(f"run folder: {folder.path}; measure it with rlqkit evaluate {folder.path}")


@cli.command()
@click.argument("run_folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="The page (default: results/<profile>/explorer.html).")  # fmt: skip
@click.option(
    "--images",
    type=click.IntRange(max=32_767),  # the page counts HQ and LQ in 16 bits
    help="Most images shown, of whole people (default: 240).",
)
@click.option("--photos/--no-photos", default=True, help="Thumbnails of the images in the page.")
def explore(
    run_folders: Sequence[Path], output: Path | None, images: int | None, photos: bool
) -> None:
    """Make one page of maps in which the features of RUN_FOLDERS can be explored side by side.

    Takes trained runs and imported weights of one data set. The page needs no network. With
    photographs of real people in it, it is as private as the data set: see docs/explorer.md.
    """
    from rlqkit.report.explorer import page
    from rlqkit.runs.folder import RunFolder, profile_folder

    folders = [RunFolder(folder) for folder in run_folders]
    file = output or profile_folder(folders[0].config()) / "explorer.html"
    page.write_explorer(folders, file, page.MOST_IMAGES if images is None else images, photos)
    click.echo(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB); open it in a browser")


@cli.command()
@_configured
def site(
    profile: str | None, config_file: Path | None, changes: Sequence[str], results: str | None
) -> None:
    """Write the executed notebooks as a static site, results/<profile>/site/index.html.

    Notebooks without an up-to-date executed copy are executed first. The pages need no network.
    """
    config = _config(profile, config_file, changes, results)
    from rlqkit.report.site import write_site  # imports torch

    click.echo(f"wrote {write_site(config, click.echo)}")


@cli.command("export-backbone")
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def export_backbone(run_folder: Path, file: Path) -> None:
    """Write a finished run's backbone to FILE, for other runs to start from (model.weights)."""
    from rlqkit.runs.experiment import export_backbone as export
    from rlqkit.runs.folder import RunFolder

    export(RunFolder(run_folder), file)
    click.echo(f"wrote {file}; use it with --set model.weights={file}")


@cli.command(hidden=True)
@_configured
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--study", "study_name", help="Runs of this study, beside what TARGET holds.")
def ship(
    target: Path, profile: str | None, config_file: Path | None, changes: Sequence[str],
    results: str | None, study_name: str | None,
) -> None:  # fmt: skip
    """Copy a profile's finished runs to TARGET, for the repository's results/reference."""
    from rlqkit.report.shipped import ship as ship_runs
    from rlqkit.report.studies import ship_study
    from rlqkit.runs.studies import find_study

    config = _config(profile, config_file, changes, results)
    folders = (
        ship_study(find_study(study_name), config, target)
        if study_name
        else ship_runs(config, target)
    )
    for folder in folders:
        click.echo(folder)


@cli.command()
@click.option("--dataset", help="Only published figures on this data set, such as ltcc.")
@click.option("--results", default="results", show_default=True, help="Folder with paper/runs.")
def claims(dataset: str | None, results: str) -> None:
    """Print each published figure beside one's own runs of it: a verdict, or what it takes.

    Written as CSV and HTML into RESULTS/paper/tables. Verdicts need runs on the real data sets,
    trained by the command that is printed; rendered people never give one, and their directions
    stand in a table of their own.
    """
    from rlqkit.report.claims import directions_in_short, in_short, write_claims

    table, told, files = write_claims(results, dataset)
    for line in (*in_short(table), *directions_in_short(told)):
        click.echo(line)
    click.echo(f"written: {', '.join(str(file) for file in files)}")


@cli.command()
@_configured
@click.argument("name", required=False)
@click.option("--train/--no-train", default=True, help="Train what is missing first.")
@click.option("--validation", is_flag=True, help="Show validation people alone, to choose by.")
def study(
    profile: str | None, config_file: Path | None, changes: Sequence[str], results: str | None,
    name: str | None, train: bool, validation: bool,
) -> None:  # fmt: skip
    """Answer a question beside the ablation by runs of its own; without NAME, list the questions.

    Each variant is compared with the study's row over the same seeds; runs that aren't here are
    taken from those that came with the kit. Written as CSV into the profile's tables.
    """
    from rlqkit.runs.studies import find_study, read_studies

    if name is None:
        for known in read_studies().values():
            click.echo(f"{known.name:10} {known.question}")
        return
    asked, config = find_study(name), _config(profile, config_file, changes, results)
    from rlqkit.report import studies  # imports torch, which takes seconds
    from rlqkit.runs.reproduce import train_all

    if train:
        train_all(asked.runs(config), config.runtime.jobs, click.echo)
    if validation:
        table = studies.validation_table(asked, config)
        click.echo("on validation people, rank-1 in percent:")
        click.echo(studies.validation_as_markdown(table), nl=False)
        return
    table, file = studies.write_study(asked, config)
    click.echo(asked.question)
    for line in studies.in_words(table):
        click.echo(line)
    if len(asked.rules) > 1:
        from rlqkit.report import selection

        queries = selection.measured(asked, config)
        for line in selection.in_words(queries, asked.variants[0].row, asked.row):
            click.echo(line)
    click.echo(f"written: {file}")


@cli.command()
@click.option("--variants", is_flag=True, help="Also those behind single figures and questions.")
def rows(variants: bool) -> None:
    """List the rows of the ablation: names, loss terms, what each shows."""
    from rlqkit.method.rows import OWN, PARTS, ROWS, TEACHER, VARIANTS

    others = (*VARIANTS.values(), *PARTS.values()) if variants else ()
    for row in (*ROWS.values(), *OWN.values(), TEACHER, *others):
        terms = ", ".join([*row.terms, *row.tad_terms])
        click.echo(f"{row.name:15} {row.explanation}\n{'':15} {terms}")


@cli.group()
def data() -> None:
    """Look at a data set, check and audit it, render or export one."""


_DATA_OPTIONS = (
    click.argument("name", default="wardrobe-v2"),
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
@click.option("--labels", type=click.Path(path_type=Path), help="Folder of label files and masks.")
@click.option("--render", "redraw", is_flag=True,
              help="Also draw three people again and compare (see `data render -h`).")  # fmt: skip
def data_check(name: str, root: Path | None, labels: Path | None, redraw: bool) -> None:
    """Check every byte and label of a data set; exit code 2 if anything is wrong.

    NAME is wardrobe-v2, ltcc, prcc, last, deepchange or celeb-reid. Published sets are compared
    with their authors' figures; docs/datasets says how to get each of them.

    Whether this machine draws a rendered set's bytes again (--render) is told, but decides nothing:
    what counts are the shipped images.
    """
    from rlqkit.data import check, findings, registry

    benchmark = registry.load(name, root, labels=labels, tolerant=True)
    report = check.check_dataset(benchmark, progress=True)
    click.echo(report.to_string())
    if redraw:
        from wardrobe.render.verify import draw_again

        click.echo(draw_again(root or registry.default_root(name)).to_text())
    problems = report[~report["ok"]]
    if len(problems):
        raise RlqkitError(
            f"{name}: {len(problems)} problems, the first: {problems.iloc[0]['subject']} "
            f"({problems.iloc[0]['check']}: {problems.iloc[0]['found']}); "
            f"{findings.remedy(benchmark)}"
        )


@data.command("describe")
@_data_command
def data_describe(name: str, root: Path | None) -> None:
    """Print images, identities, outfits, cameras and sizes of each split."""
    from rlqkit.data import check, registry

    click.echo(check.summarise_splits(registry.load(name, root)).to_string())


@data.command("label")
@_data_command
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Folder for the labels (default: labels in the data set's).",
)
@click.option("--poses", is_flag=True, help="Joints only.")
@click.option("--masks", is_flag=True, help="Clothes masks only.")
@click.option("--pose-model", help="ViTPose: a folder, or owner/name[@revision] on the hub.")
@click.option("--mask-model", help="SegFormer trained on ATR: likewise.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True)
@click.option(
    "--score",
    is_flag=True,
    help="Write nothing; compare with the labels that a rendered set has, HQ and LQ.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many to score.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the score's table.")
def data_label(
    name: str, root: Path | None, labels: Path | None, score: bool, images: int,
    output: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Make joints and clothes masks of a data set's training images, for CAP and recolouring.

    Needs an extra; in the clone: .venv/bin/python -m pip install -e '.[label]'

    Labels that are there are never overwritten, and stopped work goes on. Gender is yours to bring.
    docs/datasets/labels.md names the models and their licences. With --score on wardrobe-v2: PCK
    and mask IoU against the embedded truth.
    """
    from rlqkit.data import labelling  # imports torch

    if score:
        _show(labelling.score(name, root, images, **options), f"label_score_{name}", output)
    else:
        labelling.label(name, root, labels, say=click.echo, **options)


_RENDER_OPTIONS = (
    click.option("--set", "name", default="wardrobe-v2", show_default=True,
                 help="wardrobe-v2, wardrobe-v1, wardrobe-start or wardrobe-start-v2 (whom the "
                      "profiles' starting weights have seen). The options below make another set "
                      "from it."),
    click.option("--seed", type=click.IntRange(min=0), help="Other people, clothes and cameras."),
    click.option("--identities", "train", type=click.IntRange(min=2), help="For training."),
    click.option("--validation-identities", "validation", type=click.IntRange(min=2)),
    click.option("--test-identities", "test", type=click.IntRange(min=2)),
    click.option("--external-identities", "external", type=click.IntRange(min=2)),
    click.option("--outfits", type=click.IntRange(min=1), help="Of everybody."),
    click.option("--heights", multiple=True, metavar="LOW-HIGH",
                 help="Native heights of one target camera in pixels, such as 48-96; give it once "
                      "for each camera to mix near and far ones."),
    click.option("--quality", type=click.IntRange(1, 100), help="Of the WebP images."),
    click.option("--occluders", type=click.FloatRange(0.0, 1.0),
                 help="Share of images with something in front of the person."),
    click.option("--passers-by", type=click.FloatRange(0.0, 1.0),
                 help="Share of images with somebody else in them."),
)  # fmt: skip


def _render_options(command: Any) -> Any:
    for option in reversed(_RENDER_OPTIONS):
        command = option(command)
    return command


@data.command("render")
@click.argument("folder", type=click.Path(path_type=Path))
@_render_options
@click.option("--processes", default=1, show_default=True, help="Rendering processes.")
def data_render(folder: Path, processes: int, **options: Any) -> None:
    """Render a synthetic data set into FOLDER.

    Needs an extra; in the clone: .venv/bin/python -m pip install -e '.[render]'

    A killed rendering goes on where it stopped; the number of processes doesn't change the images.
    Settings are kept in dataset.json. A set of your own is called custom-... after its settings:
    use it with `--set data.dataset=NAME --set data.root=FOLDER`.
    """
    from wardrobe.render.generate import render_dataset

    spec = _render_spec(**options)
    click.echo(f"rendering {spec.name} into {folder}")
    render_dataset(folder, spec, processes)


def _render_spec(
    name: str, seed: int | None, outfits: int | None, heights: Sequence[str], quality: int | None,
    occluders: float | None, passers_by: float | None, **sizes: int | None,
) -> Any:  # fmt: skip
    """Return the specification that the options of `rlqkit data render` ask for."""
    from dataclasses import replace

    from wardrobe.render.custom import custom_spec, parse_heights
    from wardrobe.render.generate import SPECS

    if name not in SPECS:
        raise RlqkitError(f'no rendered set "{name}"; there are {", ".join(SPECS)}')
    base, given = SPECS[name], {k: v for k, v in sizes.items() if v is not None}
    staging = base.staging
    if staging is None and (occluders is not None or passers_by is not None):
        raise RlqkitError(f"{name} has no occluders or passers-by: choose --set wardrobe-v2")
    if staging is not None:
        staging = replace(
            staging,
            occluders=staging.occluders if occluders is None else occluders,
            passers_by=staging.passers_by if passers_by is None else passers_by,
        )
    ranges = tuple(parse_heights(text) for text in heights)
    changed = seed is not None or quality is not None or staging != base.staging
    if not (changed or given or outfits or ranges):
        return base
    seeded = base if seed is None else replace(base, seed=seed)
    return custom_spec(seeded, given, outfits, ranges, staging, quality)


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


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
    from rlqkit.data import registry
    from rlqkit.runs.folder import RunFolder
    from wardrobe import audit, cues
    from wardrobe.labels_audit import audit_labels

    benchmark = registry.load(name, root)
    shortcuts = audit.audit_shortcuts(benchmark["query"], benchmark["gallery"], progress=True)
    _show(shortcuts, "audit_shortcuts", output)
    problems = [f"{shortcut} leaks" for shortcut in audit.leaking(shortcuts)]
    if run_folder is not None:
        cues = cues.identity_cues(RunFolder(run_folder), benchmark, progress=True)
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
    from rlqkit.runs.folder import RunFolder
    from wardrobe import calibration

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
    from rlqkit.data import registry
    from rlqkit.data.export import export

    click.echo(f"wrote {export(registry.load(name, root), folder, layout)}")


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
