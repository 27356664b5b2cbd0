# %% Exercise 1.1
answer = (1 / 1 + 2 / 4) / 2


# %% Exercise 1.1 wrong
answer = (1 / 1 + 2 / 4) / 6


# %% Exercise 1.2
def average_precision(hits):
    hits = np.asarray(hits)
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return precision[hits == 1].mean()


answer = average_precision


# %% Exercise 1.2 wrong
def average_precision(hits):  # the mean over all places
    hits = np.asarray(hits)
    return (hits.cumsum() / np.arange(1, len(hits) + 1)).mean()


answer = average_precision


# %% Exercise 1.3
answer = [1, *[0] * 17, 1, 1]


# %% Exercise 1.3 wrong
answer = [1, 0, 1, 0, 1]


# %% Exercise 1.4
answer = "c"


# %% Exercise 1.4 wrong
answer = "a"


# %% Exercise 1.5
answer = 4 / (80 - 16)


# %% Exercise 1.5 wrong
answer = 4 / 80
