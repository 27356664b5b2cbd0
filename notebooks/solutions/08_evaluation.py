# %% Exercise 8.1
def sign_test(difference, people):
    sums = pd.Series(difference).groupby(np.asarray(people)).sum().to_numpy()
    signs = np.random.default_rng(0).choice([-1, 1], size=(4000, len(sums)))
    return np.mean(np.abs(signs @ sums) >= np.abs(sums.sum()))


answer = sign_test


# %% Exercise 8.1 wrong
def sign_test(difference, people):  # every query a person of its own
    signs = np.random.default_rng(0).choice([-1, 1], size=(4000, len(difference)))
    return np.mean(np.abs(signs @ difference) >= np.abs(difference.sum()))


answer = sign_test

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
