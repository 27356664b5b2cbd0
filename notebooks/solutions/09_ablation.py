# %% Exercise 9.1
hq = compare("base-lq", "base", CONDITIONS["HQ"])
answer = "b" if hq is None or not hq.excludes_zero else "a" if hq.estimate > 0 else "c"


# %% Exercise 9.1 wrong
answer = "it depends"


# %% Exercise 9.2
from rlqkit.evaluation.intervals import query_scores


def paired(row, other):
    first, second = (
        query_scores(select(queries[name], CONDITIONS["LQ → HQ"])) for name in (row, other)
    )
    return 100 * (first - second).mean()


answer = paired


# %% Exercise 9.2 wrong
from rlqkit.evaluation.intervals import query_scores


def paired(row, other):
    first, second = (
        query_scores(select(queries[name], CONDITIONS["LQ → HQ"])) for name in (row, other)
    )
    return 100 * (second - first).mean() - 1


answer = paired


# %% Exercise 9.3
answer = min(1.0, min(record[3] for record in records) * len(records))


# %% Exercise 9.3 wrong
answer = -1.0


# %% Exercise 9.4
pair = costs.loc[[rows.ROWS[row].title for row in ("base", "rlq") if row in runs]]
answer = "equal steps" if pair["all steps"].nunique() == 1 else "equal target steps"


# %% Exercise 9.4 wrong
answer = "neither"
