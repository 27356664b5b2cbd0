"""Solutions of notebook 07: the code that replaces each exercise cell, and a wrong answer each."""

# %% Exercise 7.1
answer = {"pose branch", "pose head", "gender head", "clothes classifier"}

# %% Exercise 7.1 wrong
answer = {"pose branch", "pose head", "gender head"}

# %% Exercise 7.2
with_all = found["all terms"]["same image"].mean()
without = found["without the LQ pull"]["same image"].mean()
answer = "lower" if without < with_all else "higher"

# %% Exercise 7.2 wrong
with_all = found["all terms"]["same image"].mean()
without = found["without the LQ pull"]["same image"].mean()
answer = "higher" if without < with_all else "lower"


# %% Exercise 7.3
def distance_by_cosine(t, s):
    return (2 - 2 * F.cosine_similarity(t, s, dim=1)).mean()


answer = distance_by_cosine


# %% Exercise 7.3 wrong
def distance_by_cosine(t, s):
    return (1 - F.cosine_similarity(t, s, dim=1)).mean()


answer = distance_by_cosine

# %% Exercise 7.4
answer = {"pose branch", "pose head", "gender head"}

# %% Exercise 7.4 wrong
answer = {"pose branch", "pose head", "gender head", "clothes classifier"}

# %% Exercise 7.5
answer = "b"

# %% Exercise 7.5 wrong
answer = "a"
