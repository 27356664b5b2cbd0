"""Tables of a profile's results, made from its run folders and from nothing else.

On a published data set a table says so when its figures are no result: another configuration or
other images than the paper's, in whatever. See :func:`no_result_reasons`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rlqkit.config import Config, dataset_settings, load_profile
from rlqkit.data.published.figures import published_images
from rlqkit.errors import RlqkitError, one_line
from rlqkit.evaluation.collapse import (
    ENDS,
    MEASURES,
    SINGLE,
    PersonSums,
    added_up,
    collapse_intervals,
)
from rlqkit.evaluation.intervals import (
    CONDITIONS,
    Condition,
    clustered_interval,
    interval_table,
    over_seeds,
    query_scores,
    select,
)
from rlqkit.evaluation.protocol import HQ, LQ, MIXED, headline_name
from rlqkit.files import write_bytes
from rlqkit.method.degradations import KINDS
from rlqkit.method.rows import all_rows, find_row
from rlqkit.runs.differences import differences_from_paper, in_words
from rlqkit.runs.folder import COLLAPSE, RunFolder, metrics_of, profile_folder, together
from rlqkit.runs.plan import planned_runs

ROW_ORDER = list(all_rows())
REFERENCES = ("base", "base-lq")
"""Rows that the others are measured against: what CAP and TAD add to, and what TAD has to beat."""
SD = " ± sd"
"""Ends the title of a column that holds the spread over single-shot galleries."""


def condition_titles(metrics: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """Conditions that the ablation table shows: query quality, gallery quality, test → title.

    The headline test (CC where clothes are labelled) in every quality, then the others on HQ.
    """
    headline = headline_name(metrics)
    others = [test for test in metrics["protocol"].unique() if test != headline]
    return {
        (HQ, HQ, headline): "HQ",
        (LQ, HQ, headline): "LQ → HQ",
        **{(kind, HQ, headline): kind.replace("_", " ") for kind in KINDS},
        (MIXED, MIXED, headline): "LQ → LQ",
        **{(HQ, HQ, test): f"{test}, HQ" for test in reversed(others)},
    }


def no_result_reasons(
    config: Config, images: Mapping[str, int], published: Mapping[str, int] | None = None
) -> list[str]:
    """Why figures on a published data set say nothing about it; [] where they do.

    A run counts when nothing that can change its numbers differs from the paper profile (or from a
    published run of its row), on as many images of each split as were published.

    Args:
        config: of the runs.
        images: split → images, as the run folders recorded them.
        published: the same as published; default: what the library knows of the data set.

    Returns:
        Sentences' halves, one for each difference, such as "training: 2 epochs instead of 200
        epochs". [] for a data set that isn't published (a rendered or an own one): nothing is
        claimed about it.
    """
    if published is None:
        published = published_images(config.data.dataset)
    if not published:
        return []
    reasons = in_words(differences_from_paper(config))
    taught = any(find_row(run.row).external for run in planned_runs(config))
    external = published_images(config.data.external)
    if taught and external:
        published = {**published, "external": external["train"]}
    for split, count in published.items():
        if images.get(split) != count:
            reasons.append(f"{split}: {images.get(split, 'no')} images, published {count}")
    return reasons


@dataclass(frozen=True, eq=False)
class Results:
    """The planned runs of a configuration that have figures; each file is read once.

    Attributes:
        config: whose runs; runs of another configuration in the same folder don't count.
        runs: (configuration, folder) of each, the teacher first.
        tables: metrics of each, see ``metrics_of``.
    """

    config: Config
    runs: tuple[tuple[Config, RunFolder], ...]
    tables: tuple[pd.DataFrame, ...]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All metrics in one table, see ``metrics_of``.

        Raises:
            RlqkitError: no run has any.
        """
        return together(self.tables, profile_folder(self.config))

    @cached_property
    def per_query(self) -> dict[str, dict[int, pd.DataFrame]]:
        """Row → seed → per-query table."""
        found: dict[str, dict[int, pd.DataFrame]] = {}
        for run, folder in self.runs:
            if (folder.path / "per_query.parquet").is_file():
                found.setdefault(run.row, {})[run.seed] = folder.per_query()
        return found

    @cached_property
    def images(self) -> dict[str, int]:
        """Images of each split that the runs met; a split that they don't agree on is −1.

        Runs that recorded none count as runs without images.
        """
        records: list[dict[str, Any]] = [f.environment().get("images", {}) for _, f in self.runs]
        splits = dict.fromkeys(split for record in records for split in record)
        return {
            split: counts.pop() if len(counts := {r.get(split, -1) for r in records}) == 1 else -1
            for split in splits
        }


def read_results(config: Config) -> Results:
    """The runs that belong to a configuration and are there; others are left aside.

    A run that this version of the kit can't read is left out with a line that says why.
    """
    runs, tables = [], []
    for planned in planned_runs(config):
        folder = RunFolder.of(planned)
        if not (folder.path / "metrics.json").is_file():
            continue
        try:
            tables.append(metrics_of(folder))
        except RlqkitError as error:
            print(f"left out: {one_line(error)}")
            continue
        runs.append((planned, folder))
    return Results(config, tuple(runs), tuple(tables))


def ablation_table(results: Results, measure: str = "rank1", rule: str = "last") -> pd.DataFrame:
    """One line per row of the ablation: mean over seeds, in percent, with cost beside it.

    Args:
        results: whose runs.
        measure: "rank1", "rank5", "rank10" or "mAP".
        rule: selection rule.

    Returns:
        Index: titles of the rows, in the order of the paper. Columns: ``condition_titles`` (the
        headline test, CC where clothes are labelled, unless named otherwise), the spread over
        galleries beside single-shot tests, then seeds, steps, epochs, images, seconds. NaN where a
        row's runs were made with other tests.
    """
    metrics = results.metrics
    titles = condition_titles(metrics)
    metrics = metrics[metrics["rule"] == rule]
    lines = []
    for row in ROW_ORDER:
        mine = metrics[metrics["row"] == row]
        if mine.empty:
            continue
        conditions = mine.groupby(["query", "gallery", "protocol"])
        means, spread = conditions[measure].mean(), f"{measure}_sd"
        spreads = conditions[spread].mean().dropna() if spread in mine else {}
        line: dict[str, object] = {"row": mine["title"].iloc[0]}
        for key, title in titles.items():
            line[title] = 100 * means.get(key, math.nan)
            if key in spreads:
                line[title + SD] = 100 * spreads[key]
        line |= {
            "seeds": mine["seed"].nunique(),
            "steps": int(mine["steps"].iloc[0]),
            "epochs": int(mine["epochs"].iloc[0]),
            "images": int(mine["images"].mean()),
            "seconds": round(mine.groupby("seed")["train_seconds"].first().mean()),
        }
        lines.append(line)
    return pd.DataFrame(lines).set_index("row")


def summary_table(results: Results, rule: str = "last") -> pd.DataFrame:
    """The ablation in short: headline rank-1 with 95 % intervals over test people, and the cost.

    Returns:
        Strings such as "31.5 [27.0, 36.2]" (percent), one line per row of the ablation. Other tests
        than the headline and "general" follow, single-shot ones as "40.4 ± 1.2" (over galleries),
        – where a row's runs were made without them.

    Raises:
        RlqkitError: a run has no table of its queries; it is named.
    """
    for run, folder in results.runs:
        if run.seed not in results.per_query.get(run.row, {}):
            raise RlqkitError(
                f"{folder.path} has no per_query.parquet, from which intervals are made: put it "
                "back, or delete the run folder and train the run again"
            )
    ablation = ablation_table(results, "rank1", rule)
    others = [
        title
        for (query, _, test), title in condition_titles(results.metrics).items()
        if query == HQ and title != "HQ" and test != "general"
    ]
    tables = {find_row(row).title: list(mine.values()) for row, mine in results.per_query.items()}
    lines = []
    for title, costs in ablation.iterrows():
        queries = pd.concat(tables[str(title)], ignore_index=True)
        line: dict[str, object] = {"row": title}
        for name, condition in CONDITIONS.items():
            found = clustered_interval(select(queries, condition, rule))
            line[f"{name} [95 %]"] = found.in_points()
        for name in others:
            spread = costs.get(name + SD, math.nan)
            line[name] = _one_decimal(costs[name]) + (
                "" if math.isnan(spread) else f" ± {spread:.1f}"
            )
        line |= {name: f"{int(costs[name])}" for name in ("steps", "epochs", "images", "seconds")}
        lines.append(line)
    return pd.DataFrame(lines).set_index("row")


def summary_as_markdown(results: Results) -> str:
    """``summary_table`` for a page."""
    return _markdown(summary_table(results))


def seed_table(results: Results, measure: str = "rank1", rule: str = "last") -> pd.DataFrame:
    """Every seed of every row by itself: the headline test on HQ and LQ queries, in percent."""
    metrics = results.metrics
    chosen = metrics[(metrics["rule"] == rule) & (metrics["protocol"] == headline_name(metrics))]
    wide = chosen.pivot_table(
        index=["row", "seed"], columns=["query", "gallery"], values=measure, aggfunc="first"
    )
    wide.columns = [f"{query} → {gallery}" for query, gallery in wide.columns]
    return (100 * wide).reindex(ROW_ORDER, level="row")


def difference_table(results: Results, measure: str = "rank1", rule: str = "last") -> pd.DataFrame:
    """Every row against base and against base with LQ augmentation, query by query.

    Only seeds that both rows have are compared; such a pair shares data, test and starting weights.

    Returns:
        Columns reference, row, condition, test, estimate, low, high (points; 95 % over test people,
        seeds averaged), identities, queries, excludes_zero, seeds, seed_low, seed_high (95 % over
        seeds; NaN with one). No line where no reference or no other row has a run.
    """
    runs = {row: mine for row, mine in results.per_query.items() if not find_row(row).external}
    lines = []
    for reference in REFERENCES:
        others = runs.get(reference, {})
        for row, mine in runs.items():
            seeds = sorted(mine.keys() & others.keys())
            if row == reference or not seeds:
                continue
            pair = {
                name: pd.concat([tables[seed] for seed in seeds], ignore_index=True)
                for name, tables in ((row, mine), (reference, others))
            }
            found = interval_table(pair, CONDITIONS, measure, rule, reference)
            spread = [
                over_seeds([
                    100 * _mean_difference(mine[seed], others[seed], condition, measure, rule)
                    for seed in seeds
                ])
                for condition in CONDITIONS.values()
            ]  # fmt: skip
            found.insert(0, "reference", reference)
            found["seeds"] = len(seeds)
            found[["seed_low", "seed_high"]] = spread
            lines.append(found)
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()


def collapse_table(results: Results, measures: Iterable[str] = SINGLE) -> pd.DataFrame:
    """How far LQ queries of the headline have collapsed: every row, over all its seeds.

    Runs of older kits, which kept no measures of collapse, are left out.

    Returns:
        Columns row, measure, estimate, low, high (shares and cosines as they are; 95 % over
        people, who are the same for every seed), people, images, seeds, least, most (of a seed).
        NaN where nothing counts, as strangers where every neighbour is right; no line where no run
        has the measures.
    """
    runs: dict[str, list[PersonSums]] = {}
    for config, folder in results.runs:
        if (folder.path / COLLAPSE).is_file() and not find_row(config.row).external:
            runs.setdefault(config.row, []).append(folder.collapse())
    if not runs:
        return pd.DataFrame()
    models = {row: added_up(seeds) for row, seeds in runs.items()}
    found = collapse_intervals(models, tuple(measures)).rename(columns={"model": "row"})
    of_seeds = [
        [sums.value(line.measure) for sums in runs[line.row]] for line in found.itertuples()
    ]
    found["seeds"] = [len(values) for values in of_seeds]
    known = [[value for value in values if math.isfinite(value)] for values in of_seeds]
    found["least"] = [min(values, default=math.nan) for values in known]
    found["most"] = [max(values, default=math.nan) for values in known]
    return found


def collapse_as_markdown(table: pd.DataFrame, floor: PersonSums | None = None) -> str:
    """The table for a page: a line a row, a column a measure; in brackets 95 % over people.

    Args:
        table: of ``collapse_table``.
        floor: what random features score on the same images; None = no such line.
    """
    measures = list(dict.fromkeys(table["measure"]))
    titles = [MEASURES[measure].title.replace("|", "\\|") for measure in measures]
    lines = [f"| row | {' | '.join(titles)} | seeds |", "|---" + "|---:" * (len(titles) + 1) + "|"]
    for row, mine in table.groupby("row", sort=False):
        cells = [_with_interval(line) for line in mine.to_dict("records")]
        seeds = mine["seeds"].iloc[0]
        lines.append(f"| {find_row(str(row)).title} | {' | '.join(cells)} | {seeds} |")
    if floor is not None:
        found = collapse_intervals({"": floor}, tuple(measures)).to_dict("records")
        lines.append(f"| random features | {' | '.join(map(_with_interval, found))} | – |")
    return "\n".join(lines) + "\n"


def _with_interval(line: Mapping[Any, Any]) -> str:
    """A measure of collapse in whole percent, or as the cosine that it is; – where none counts."""
    if math.isnan(line["estimate"]):
        return "–"
    if MEASURES[line["measure"]].percent:
        return "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * line[end] for end in ENDS))
    return "{:.2f} [{:.2f}, {:.2f}]".format(*(line[end] for end in ENDS))


def _mean_difference(
    mine: pd.DataFrame, other: pd.DataFrame, condition: Condition, measure: str, rule: str
) -> float:
    first, second = (query_scores(select(t, condition, rule), measure) for t in (mine, other))
    return float((first - second).mean())


def write_tables(config: Config, results: Results | None = None) -> list[Path]:
    """Writes the tables of a profile as CSV and Markdown; returns the files.

    Args:
        config: whose runs, and where to.
        results: its runs, if they have been read already.

    On a published data set the Markdown opens with what the figures are, and every file says
    "NOT A RESULT" where ``no_result_reasons`` finds a reason.

    Raises:
        RlqkitError: there is no run, or one has no table of its queries; then nothing is written.
    """
    target = profile_folder(config) / "tables"
    results = read_results(config) if results is None else results
    reasons = no_result_reasons(config, results.images)
    texts: dict[str, str] = {}
    for measure in ("rank1", "mAP"):
        for rule in sorted(set(results.metrics["rule"])):
            table = ablation_table(results, measure, rule)
            title = _title(results, f"{measure} in percent, epoch: {rule}", reasons)
            texts[f"ablation_{measure}_{rule}.csv"] = _marked(table.round(2), reasons).to_csv()
            texts[f"ablation_{measure}_{rule}.md"] = title + _markdown(table)
    texts["seeds_rank1.csv"] = _marked(seed_table(results).round(2), reasons).to_csv()
    title = _title(
        results, "rank1 in percent [95 % interval over identities], epoch: last", reasons
    )
    texts["summary.md"] = title + summary_as_markdown(results)
    differences = difference_table(results)
    if len(differences):
        differences = _marked(differences.round(2), reasons)
        texts["differences_rank1.csv"] = differences.to_csv(index=False)
    collapsed = collapse_table(results)
    if len(collapsed):
        texts["collapse.csv"] = _marked(collapsed.round(4), reasons).to_csv(index=False)
    for name, text in texts.items():
        write_bytes(target / name, text.encode())
    return [target / name for name in texts]


def _title(results: Results, what: str, reasons: list[str]) -> str:
    """Opening lines of a table on a published data set; "" on any other."""
    config = results.config
    if not dataset_settings(config.data.dataset):
        return ""
    paper, training = load_profile("paper").training.epochs, config.training
    length = f"{training.epochs} epochs" if training.epochs else f"{training.steps} steps"
    headline = headline_name(results.metrics)
    lines = [
        f"{config.data.dataset}, {what}; columns are of the test {headline} unless named "
        f"otherwise. Trained {length}, the paper {paper} epochs at most."
    ]
    if reasons:
        lines.insert(0, f"**NOT A RESULT: {'; '.join(reasons)}.**")
    return "\n\n".join(lines) + "\n\n"


def _marked(table: pd.DataFrame, reasons: list[str]) -> pd.DataFrame:
    """The table with a column that keeps single lines from being taken for a result."""
    return table.assign(status="NOT A RESULT") if reasons else table


def _markdown(table: pd.DataFrame) -> str:
    """A pipe table with one decimal for percentages."""
    header = ["row", *table.columns]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * len(table.columns) + "|"]
    for name, *values in table.itertuples(name=None):
        cells = [_one_decimal(v) if isinstance(v, float) else f"{v}" for v in values]
        lines.append("| " + " | ".join([str(name), *cells]) + " |")
    return "\n".join(lines) + "\n"


def _one_decimal(value: float) -> str:
    """A percentage for a page; – where there is none."""
    return "–" if math.isnan(value) else f"{value:.1f}"
