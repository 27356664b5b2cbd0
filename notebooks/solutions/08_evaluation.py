# %% Exercise 8.1
def average_precision(ranks):
    return np.mean(np.arange(1, len(ranks) + 1) / ranks)


answer = average_precision


# %% Exercise 8.1 wrong
def average_precision(ranks):
    return np.mean(1 / np.asarray(ranks))


answer = average_precision

# %% Exercise 8.2
answer = (0.0, 1 / 2)

# %% Exercise 8.2 wrong
answer = (1.0, 1.0)

# %% Exercise 8.3
own = shown.identity == asked.identity[i]
same_clothes = own & (shown.clothes == asked.clothes[i])
answer = np.where(same_clothes, 0.0, np.where(own, 2.0, 1.0))

# %% Exercise 8.3 wrong
answer = np.where(shown.identity == asked.identity[i], 0.0, 1.0)

# %% Exercise 8.4
answer = "b"

# %% Exercise 8.4 wrong
answer = "a"
