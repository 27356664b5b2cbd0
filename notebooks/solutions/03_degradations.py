# %% Exercise 3.1
height, width = image.shape[:2]
answer = math.ceil(max(size[0] / height, size[1] / width) * min(height, width))


# %% Exercise 3.1 wrong
answer = 4 * size[1] + 500


# %% Exercise 3.2
def sigma_in_input(sigma, native, rows):
    return sigma * rows / native


answer = sigma_in_input


# %% Exercise 3.2 wrong
def sigma_in_input(sigma, native, rows):  # upside down
    return sigma * native / rows


answer = sigma_in_input


# %% Exercise 3.3
answer = (5, 0.2)


# %% Exercise 3.3 wrong
answer = (5, 1.0)


# %% Exercise 3.4
answer = "b"


# %% Exercise 3.4 wrong
answer = "d"
