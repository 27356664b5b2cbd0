"""Solutions of notebook 05: the code that replaces each exercise cell, and a wrong answer each."""

# %% Exercise 5.1
answer = (24, 12)

# %% Exercise 5.1 wrong
answer = (12, 6)


# %% Exercise 5.2
def cosines(f, weight):
    unit = f / f.norm(dim=1, keepdim=True)
    return unit @ (weight / weight.norm(dim=1, keepdim=True)).T


answer = cosines


# %% Exercise 5.2 wrong
def cosines(f, weight):
    return f @ weight.T


answer = cosines

# %% Exercise 5.3
answer = {"stem", "trunk", "branch1", "clothes classifier"}

# %% Exercise 5.3 wrong
answer = {"clothes classifier"}

# %% Exercise 5.4
answer = "b"

# %% Exercise 5.4 wrong
answer = "d"
