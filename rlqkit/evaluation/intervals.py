"""How sure a figure is: bootstrap intervals clustered by identity, alone and in pairs.

Queries of one person stand or fall together, so resampling queries one by one would promise too
much. Here whole identities are drawn with replacement, with all their queries. Two models are
compared on the same queries: the interval is that of the difference, query by query.

What these intervals hold: the choice of *test people*. What they don't: the luck of the training
seed. With one seed a difference may be significant here and vanish with the next seed. With several
:func:`over_seeds` gives the other half of the doubt, and :func:`crossed_interval` both together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.protocol import HQ, LQ, MIXED, headline_name
from rlqkit.method.degradations import KINDS
from rlqkit.method.rows import find_row

Condition = tuple[str, str, str]
"""Query quality, gallery quality, protocol (a test's name, or ``HEADLINE``)."""

HEADLINE = "headline"
"""In place of a protocol: the benchmark's headline test, CC where clothes are labelled."""

CONDITIONS: dict[str, Condition] = {
    "HQ": (HQ, HQ, HEADLINE),
    "LQ → HQ": (LQ, HQ, HEADLINE),
    "LQ → LQ": (MIXED, MIXED, HEADLINE),
}
"""The three questions of the paper, by the name that tables and figures give them."""

QUALITIES: dict[str, Condition] = {
    HQ: (HQ, HQ, HEADLINE),
    **{kind.replace("_", " "): (kind, HQ, HEADLINE) for kind in KINDS},
}
"""Query qualities against the HQ gallery, the degradations one by one."""

QUERY_KEYS = ["identity", "query", "file"]


@dataclass(frozen=True)
class Interval:
    """A figure or a difference with its bootstrap interval.

    Attributes:
        estimate: mean over the queries; a share in [0, 1], or a difference in [−1, 1].
        low, high: ends of the interval.
        identities: clusters that were resampled.
        queries: queries behind the estimate.
    """

    estimate: float
    low: float
    high: float
    identities: int
    queries: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0

    def in_points(self, signed: bool = False) -> str:
        """Percent (points) with one decimal, as in "+5.0 [+3.5, +6.4]"."""
        form = "+.1f" if signed else ".1f"
        low, high = f"{100 * self.low:{form}}", f"{100 * self.high:{form}}"
        return f"{100 * self.estimate:{form}} [{low}, {high}]"


def select(per_query: pd.DataFrame, condition: Condition, rule: str = "last") -> pd.DataFrame:
    """The queries of one condition and one selection rule; "LQ" pools the three degradations.

    Raises:
        RlqkitError: the table holds no such query.
    """
    query, gallery, protocol = condition
    if protocol == HEADLINE:
        protocol = headline_name(per_query)
    kinds = KINDS if query == LQ else (query,)
    chosen = per_query[
        per_query["query"].isin(kinds)
        & (per_query["gallery"] == gallery)
        & (per_query["protocol"] == protocol)
    ]
    if "rule" in per_query:
        chosen = chosen[chosen["rule"] == rule]
    if chosen.empty:
        raise RlqkitError(
            f"per_query holds no query for {query} → {gallery}, {protocol}, rule {rule}; "
            "train the run again with that selection rule"
        )
    return chosen


def clustered_interval(
    per_query: pd.DataFrame,
    reference: pd.DataFrame | None = None,
    measure: str = "rank1",
    level: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over identities, of one model or of a difference between two.

    Args:
        per_query: queries of one condition (see ``select``): identity, query, file, first_hit,
            average_precision. Tables of several training seeds may be stacked: each query then
            counts with its mean over the seeds, as it does over the galleries of a single-shot
            test.
        reference: the other model's queries; the interval is that of model − reference.
        measure: "rank1", "rank5", … or "mAP".
        level: coverage aimed at.
        draws: bootstrap samples.
        seed: of the resampling.

    Raises:
        RlqkitError: unknown measure, fewer than two identities, or a reference with other queries.
    """
    scores = query_scores(per_query, measure)
    if reference is not None:
        others = query_scores(reference, measure)
        if not scores.index.equals(others.index):
            raise RlqkitError(
                f"the two runs share {len(scores.index.intersection(others.index))} of "
                f"{len(scores)} and {len(others)} queries; compare runs on the same test set"
            )
        scores = scores - others
    by_identity = scores.groupby(level="identity")
    sums, counts = by_identity.sum().to_numpy(), by_identity.count().to_numpy()
    if len(sums) < 2:
        raise RlqkitError(f"{len(sums)} test identity can't be resampled; measure 2 or more")
    means = _resampled_means(sums, counts, draws, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores.mean()), float(low), float(high), len(sums), len(scores))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for being several (Holm, 1979), in the order given, 0..1.

    The smallest is multiplied by their number, the next by one less, and so on; none becomes
    smaller than one before it.
    """
    order = np.argsort(p_values, kind="stable")
    corrected, highest = np.empty(len(p_values)), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return [float(value) for value in corrected]


def smallest_difference(interval: Interval, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest true difference that such a test would tell from 0 with the given power, 0..1.

    Args:
        interval: of a paired difference, from as many people and seeds as are meant.
        level: of the interval.
        power: how often it is to be told.
    """
    normal = stats.norm
    error = (interval.high - interval.low) / (2 * normal.ppf((1 + level) / 2))
    return float((normal.ppf((1 + level) / 2) + normal.ppf(power)) * error)


def over_seeds(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean over training seeds; NaN, NaN with fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1)
    half /= np.sqrt(len(values))
    mean = float(np.mean(values))
    return mean - float(half), mean + float(half)


def crossed_interval(
    tables: Sequence[pd.DataFrame],
    references: Sequence[pd.DataFrame] | None = None,
    measure: str = "rank1",
    level: float = 0.95,
) -> tuple[Interval, float]:
    """An interval that holds the choice of test people and the luck of the training seed.

    Every person meets every seed, so people and seeds are crossed random effects: the variance of
    the mean is that of the people's means, plus that of the seeds' means, less the part of the rest
    that both contain; Student's t with Satterthwaite's degrees of freedom. Resampling seeds would
    understate their part by a third where there are three.

    Args:
        tables: queries of one condition, one table a seed; see ``select``.
        references: the other model's, in the same order of seeds.
        measure: as in ``clustered_interval``.
        level: coverage aimed at.

    Returns:
        The interval, and the two-sided p of "the mean is 0". With one seed the people's doubt alone
        is in both.

    Raises:
        RlqkitError: as ``clustered_interval``; tables with different queries.
    """
    scores = [_scores_of(table, None, measure) for table in tables]
    if references is not None:
        pairs = zip(tables, references, strict=True)
        scores = [_scores_of(table, other, measure) for table, other in pairs]
    together = pd.concat(scores, axis=1)
    if together.isna().any().any():
        raise RlqkitError("the seeds share only a part of the queries; compare on one test set")
    people = together.groupby(level="identity")
    sums, counts = people.sum().to_numpy(), people.size().to_numpy()
    mean = float(together.to_numpy().mean())
    # what a person adds to the mean, in the mean's units, however many queries that person has
    shares = mean + (sums - mean * counts[:, None]) / counts.mean()
    error, freedom = _crossed_error(shares)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return Interval(mean, mean - half, mean + half, len(counts), len(together)), p


def _scores_of(table: pd.DataFrame, other: pd.DataFrame | None, measure: str) -> pd.Series:
    mine = query_scores(table, measure)
    if mine.index.get_level_values("identity").nunique() < 2:
        raise RlqkitError("1 test identity has no spread; measure 2 or more")
    if other is None:
        return mine
    theirs = query_scores(other, measure)
    if not mine.index.equals(theirs.index):
        raise RlqkitError("the two runs have different queries; compare runs on the same test set")
    return mine - theirs


def _crossed_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Standard error of the mean of (people, seeds) values, and its degrees of freedom."""
    people, seeds = values.shape
    by_person = values.mean(axis=1)
    alone = by_person.var(ddof=1) / people
    if seeds < 2:
        return float(np.sqrt(alone)), people - 1
    by_seed = values.mean(axis=0)
    rest = values - by_person[:, None] - by_seed + values.mean()
    free = np.array([people - 1, seeds - 1, (people - 1) * (seeds - 1)])
    parts = np.array([
        alone, by_seed.var(ddof=1) / seeds, (rest**2).sum() / free[2] / (people * seeds)
    ])  # fmt: skip
    variance = parts[0] + parts[1] - parts[2]
    if variance <= alone:  # the seeds differ by no more than chance
        return float(np.sqrt(alone)), people - 1
    return float(np.sqrt(variance)), float(variance**2 / (parts**2 / free).sum())


def query_scores(per_query: pd.DataFrame, measure: str = "rank1") -> pd.Series:
    """Score of every valid query in [0, 1], indexed by identity, query quality and file."""
    valid = per_query[per_query["first_hit"] >= 0]
    if measure == "mAP":
        scores = valid["average_precision"]
    elif measure.startswith("rank") and measure[4:].isdigit():
        scores = (valid["first_hit"] < int(measure[4:])).astype(float)
    else:
        raise RlqkitError(f'measure "{measure}" is unknown; use mAP, rank1, rank5, …')
    keys = [valid[name] for name in QUERY_KEYS]
    return scores.groupby(keys).mean().sort_index()


def interval_table(
    tables: Mapping[str, pd.DataFrame],
    conditions: Mapping[str, Condition] = CONDITIONS,
    measure: str = "rank1",
    rule: str = "last",
    reference: str | None = None,
) -> pd.DataFrame:
    """Intervals of several rows under several conditions, in percent or points.

    Args:
        tables: row name → its per-query table.
        conditions: name → condition, such as ``CONDITIONS`` or ``QUALITIES``.
        measure: see ``clustered_interval``.
        rule: selection rule.
        reference: a row of ``tables``; all others are then given as differences to it.

    Returns:
        Columns row, condition, test (its name), estimate, low, high (percent, or points of a
        difference), identities, queries, and excludes_zero where there is a reference.
    """
    if reference is not None and reference not in tables:
        raise RlqkitError(f'reference row "{reference}" has no run; have {", ".join(tables)}')
    records = []
    for row, table in tables.items():
        if row == reference:
            continue
        for name, condition in conditions.items():
            mine = select(table, condition, rule)
            other = None
            if reference is not None:
                other = select(tables[reference], condition, rule)
            found = clustered_interval(mine, other, measure)
            record: dict[str, Any] = {"row": row, "condition": name}
            record["test"] = mine["protocol"].iloc[0]
            record |= {k: 100 * getattr(found, k) for k in ("estimate", "low", "high")}
            record |= {"identities": found.identities, "queries": found.queries}
            if reference is not None:
                record["excludes_zero"] = found.excludes_zero
            records.append(record)
    return pd.DataFrame(records)


def describe_difference(line: Mapping[str, Any] | pd.Series, other: str) -> str:
    """One line of a difference table in words, with what its interval allows to say.

    Args:
        line: row, condition, estimate, low, high of ``interval_table`` with a reference.
        other: the reference row.
    """
    low, high, title = line["low"], line["high"], find_row(other).title
    verdict = "can't be told from 0"
    if low > 0:
        verdict = f"better than {title}: the interval excludes 0"
    elif high < 0:
        verdict = f"WORSE than {title}: the interval excludes 0"
    numbers = f"{line['estimate']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"{line['condition']:8} {find_row(line['row']).title:23} {numbers:21} {verdict}"


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.int64], draws: int, seed: int
) -> NDArray[np.float64]:
    """(draws,) means over queries, identities drawn with replacement as often as there are."""
    clusters = len(sums)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
    means: NDArray[np.float64] = (times @ sums) / (times @ counts)
    return means
