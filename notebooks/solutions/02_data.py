# %% Exercise 2.1
answer = "abc"[lineup.index(int(match))]


# %% Exercise 2.1 wrong
answer = "abc"[(lineup.index(int(match)) + 1) % 3]


# %% Exercise 2.2
def class_number(identity, trousers, shirt, originals, n):
    return originals + identity * n**2 + n * trousers + shirt


answer = class_number


# %% Exercise 2.2 wrong
def class_number(identity, trousers, shirt, originals, n):  # shirt and trousers exchanged
    return originals + identity * n**2 + n * shirt + trousers


answer = class_number


# %% Exercise 2.3
answer = ("purple", "purple")


# %% Exercise 2.3 wrong
answer = ("green", "red")


# %% Exercise 2.4
answer = "b"


# %% Exercise 2.4 wrong
answer = "d"
