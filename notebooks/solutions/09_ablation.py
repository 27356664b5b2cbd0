# %% Exercise 9.1
answer = sum(q < 0.05 for q in holm([answers[k][1] for k in answers if k[:2] == ("rlq", "base")]))


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
answer = sum(answers[k][0].excludes_zero and corrected[k] >= 0.05 for k in answers)


# %% Exercise 9.3 wrong
answer = -1.0


# %% Exercise 9.4
pair = costs.loc[[rows.ROWS[row].title for row in ("base", "rlq") if row in runs]]
answer = "equal steps" if pair["all steps"].nunique() == 1 else "equal target steps"


# %% Exercise 9.4 wrong
answer = "neither"
