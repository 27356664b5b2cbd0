# %% Exercise 0.1
first = next(iter(intervals))
base = intervals[first].query("row == 'base'").set_index("condition")["estimate"]
answer = base["LQ → HQ"] / base["HQ"] if base["HQ"] else 0.0


# %% Exercise 0.1 wrong
answer = 2.0


# %% Exercise 0.2
def paired_difference(mine, other):
    return 100 * (np.asarray(mine) - np.asarray(other)).mean()


answer = paired_difference


# %% Exercise 0.2 wrong
def paired_difference(mine, other):  # a share and not points
    return (np.asarray(mine) - np.asarray(other)).mean()


answer = paired_difference


# %% Exercise 0.3
answer = ([1, 0, 1, 0], [0, 1, 0, 1])


# %% Exercise 0.3 wrong
answer = ([1, 0, 1, 0], [1, 0, 1, 0])


# %% Exercise 0.4
answer = "b"


# %% Exercise 0.4 wrong
answer = "a"
