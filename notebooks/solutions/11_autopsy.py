# %% Exercise 11.1
answer = 1


# %% Exercise 11.1 wrong
answer = 10


# %% Exercise 11.2
def overlap(top, bottom):
    return tuple((a + b) % 256 for a, b in zip(top, bottom, strict=True))


answer = overlap


# %% Exercise 11.2 wrong
def overlap(top, bottom):
    return tuple(min(a + b, 255) for a, b in zip(top, bottom, strict=True))


answer = overlap


# %% Exercise 11.3
answer = len(set(first_draws("official", 1, epochs=60)))


# %% Exercise 11.3 wrong
answer = 60


# %% Exercise 11.4
answer = "c"


# %% Exercise 11.4 wrong
answer = "a"
