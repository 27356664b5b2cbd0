# %% Exercise 10.1
answer = float(np.random.default_rng(1).normal(size=(5000, 20)).max(axis=1).mean())


# %% Exercise 10.1 wrong
answer = 0.0


# %% Exercise 10.2
answer = 100 * sum(not claim.protocol_stated for claim in claims) / len(claims)


# %% Exercise 10.2 wrong
answer = sum(not claim.protocol_stated for claim in claims) / len(claims)


# %% Exercise 10.3
answer = "within spread"


# %% Exercise 10.3 wrong
answer = "reproduced"
