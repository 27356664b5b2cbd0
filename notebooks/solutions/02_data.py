# %% Exercise 2.1
answer = "abc"[lineup.index(int(match))]


# %% Exercise 2.1 wrong
answer = "abc"[(lineup.index(int(match)) + 1) % 3]


# %% Exercise 2.2
def parts_of(number, originals, n):
    identity, pair = divmod(number - originals, n**2)
    return identity, *divmod(pair, n)


answer = parts_of


# %% Exercise 2.2 wrong
def parts_of(number, originals, n):  # shirt and trousers exchanged
    identity, pair = divmod(number - originals, n**2)
    return identity, pair % n, pair // n


answer = parts_of


# %% Exercise 2.3
answer = ("purple", "purple")


# %% Exercise 2.3 wrong
answer = ("green", "red")


# %% Exercise 2.4
answer = "b"


# %% Exercise 2.4 wrong
answer = "d"
