# %% Exercise 6.1
answer = abs(np.degrees(np.arctan2(2, -100)) - np.degrees(np.arctan2(-2, -100)))

# %% Exercise 6.1 wrong
answer = 2.3


# %% Exercise 6.2
def without_jump(vectors):
    angles = np.radians(vectors[:, 13:])
    return np.hstack([vectors[:, :13], np.cos(angles), np.sin(angles)])


answer = without_jump


# %% Exercise 6.2 wrong
def without_jump(vectors):
    return np.hstack([vectors[:, :13], vectors[:, 13:], vectors[:, 13:] % 360])


answer = without_jump

# %% Exercise 6.3
f2 = np.array([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
f3 = np.array([[0, 1.0], [0, 1], [0, -1], [0, -1]])
answer = (f2, f3)

# %% Exercise 6.3 wrong
answer = (np.array([[1.0, 0]] * 4), np.array([[0, 1.0]] * 4))

# %% Exercise 6.4
answer = "c"

# %% Exercise 6.4 wrong
answer = "b"
