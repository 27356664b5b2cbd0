"""Published figures as data, ``profiles/claims.toml``: who claims what, and the run behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from rlqkit.config import build_section, packaged_table
from rlqkit.errors import RlqkitError
from rlqkit.runs.published import PublishedRun, published_runs

Kind = Literal["paper", "readme", "script", "author page", "aggregator", "reproduction"]


@dataclass(frozen=True)
class Claim:
    """One published figure, in percent; 0 = not stated.

    Attributes:
        method, venue, backbone: as the source names them.
        dataset: as the kit names it, or in lower case if it doesn't know it.
        protocol: "CC", "SC", "general" or "not stated".
        protocol_stated: False: read from the context.
        shots: of the galleries where the source says so.
        rank1, mAP: the figure.
        gain: least and most points of rank-1 over other methods, where only that is published.
        kind: who says so.
        selection: how the epoch was chosen; best_test: rank-1 and mAP each from the epoch that was
            best on the test set.
        seeds: best_2_of_4 = mean of the best two of four runs, best_1 = the best run, one = a run.
        source: where; files of repositories as owner/name@commit:file:line.
        run: name of the published run that would make the figure again; "" = none is described.
    """

    method: str
    dataset: str
    source: str
    kind: Kind
    venue: str = ""
    backbone: str = ""
    protocol: Literal["CC", "SC", "general", "not stated"] = "not stated"
    protocol_stated: bool = True
    shots: Literal["", "single", "multi"] = ""
    rank1: float = 0.0
    mAP: float = 0.0
    gain: tuple[float, ...] = ()
    selection: Literal["not stated", "best_test"] = "not stated"
    seeds: Literal["not stated", "best_2_of_4", "best_1", "one"] = "not stated"
    run: str = ""

    @property
    def figure(self) -> str:
        """As it is published: "46.4 / 21.5" (rank-1 / mAP), "+1.6 to +2.9" or "no figure"."""
        if self.gain:
            least, most = self.gain[0], self.gain[-1]
            return f"{least:+.1f}" + (f" to {most:+.1f}" if most > least else "")
        if not (self.rank1 or self.mAP):
            return "no figure"
        return " / ".join(f"{value:.1f}" if value else "–" for value in (self.rank1, self.mAP))


def read_claims(dataset: str | None = None, text: str | None = None) -> list[Claim]:
    """The published figures, in the order of the file.

    Args:
        dataset: only those on this data set.
        text: TOML in place of the shipped file.

    Raises:
        RlqkitError: no TOML, an unknown key, a wrong type, a figure outside 0..100, a run that
            ``paper_runs.toml`` hasn't got or that is of another data set, nothing on ``dataset``.
    """
    table = packaged_table("claims.toml", text)
    unknown = [key for key in table if key != "claim"]
    if unknown:
        raise RlqkitError(f"claims.toml has an unknown key {unknown[0]}; mend or remove it")
    runs = {run.name: run for run in published_runs()}
    claims = [_read(entry, i, runs) for i, entry in enumerate(table.get("claim", []))]
    chosen = [claim for claim in claims if dataset in (None, claim.dataset)]
    if not chosen:
        known = ", ".join(sorted({claim.dataset for claim in claims}))
        raise RlqkitError(f'no published figure on data set "{dataset}"; there are some on {known}')
    return chosen


def _read(entry: dict[str, Any], number: int, runs: dict[str, PublishedRun]) -> Claim:
    prefix = f"claims.toml claim[{number}]."
    try:
        claim: Claim = build_section(Claim, entry, prefix)
    except TypeError as error:  # a field without a default is not there
        raise RlqkitError(f"{prefix.rstrip('.')} is incomplete: {error}") from None
    for key in ("rank1", "mAP"):
        if not 0 <= getattr(claim, key) <= 100:
            raise RlqkitError(f"{prefix}{key} = {getattr(claim, key)} must lie in 0..100")
    if len(claim.gain) not in (0, 2) or list(claim.gain) != sorted(claim.gain):
        raise RlqkitError(f"{prefix}gain = {list(claim.gain)} must be [least, most]")
    if claim.run and (claim.run not in runs or runs[claim.run].dataset != claim.dataset):
        raise RlqkitError(
            f'{prefix}run = "{claim.run}" is no run of paper_runs.toml on {claim.dataset}'
        )
    return claim


def best_other(claim: Claim, claims: Iterable[Claim]) -> Claim | None:
    """The best method with the same backbone, data set and protocol that isn't the claim's own.

    What a gain over "existing approaches" is measured from: stated figures of papers and of their
    authors' repositories; a gallery of single or of multiple shots counts alike, since the claim
    doesn't say. None if there is none.
    """
    rivals = [
        other
        for other in claims
        if (other.dataset, other.protocol) == (claim.dataset, claim.protocol)
        and other.kind in ("paper", "readme", "author page")
        and other.protocol_stated
        and other.rank1
        and other.venue != claim.venue
        and other.backbone.startswith(claim.backbone)
    ]
    return max(rivals, key=lambda other: other.rank1, default=None)
