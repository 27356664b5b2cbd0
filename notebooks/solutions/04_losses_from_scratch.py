# %% Exercise 4.1
answer = math.degrees(math.acos(1 - MARGIN))


# %% Exercise 4.1 wrong
answer = 90.0


# %% Exercise 4.2
def clothes_cross_entropy(cosines, worn):
    log_p = SCALE * cosines - (SCALE * cosines).logsumexp(dim=1, keepdim=True)
    return -log_p[torch.arange(len(worn)), worn].mean()


answer = clothes_cross_entropy


# %% Exercise 4.2 wrong
def clothes_cross_entropy(cosines, worn):  # the scale is missing
    log_p = cosines - cosines.logsumexp(dim=1, keepdim=True)
    return -log_p[torch.arange(len(worn)), worn].mean()


answer = clothes_cross_entropy


# %% Exercise 4.3
answer = "c"


# %% Exercise 4.3 wrong
answer = "b"


# %% Exercise 4.4
answer = math.log(3)


# %% Exercise 4.4 wrong
answer = math.log(3) / 3


# %% Exercise 4.5
answer = torch.ones(4, 3)


# %% Exercise 4.5 wrong
answer = torch.eye(4, 3)
