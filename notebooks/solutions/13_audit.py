# %% Exercise 13.1
person, camera, clothes = (int(column[0]) for column in query.metric_arrays())
people, cameras, outfits = gallery.metric_arrays()
others = cameras != camera
right = (people == person) & others & (outfits != clothes)
strangers = (people != person) & others
answer = right.sum() / (right.sum() + strangers.sum())

# %% Exercise 13.1 wrong
people, cameras, outfits = gallery.metric_arrays()
answer = np.mean(people == query.identities[0])

# %% Exercise 13.2
turn = pd.Series(gallery.identities).groupby(gallery.identities).cumcount()
beside = [
    np.flatnonzero(query.identities == person)[k % (query.identities == person).sum()]
    for person, k in zip(gallery.identities, turn, strict=True)
]  # a person's k-th gallery image beside that person's k-th query
order = np.argsort(beside, kind="stable")
answer = order

# %% Exercise 13.2 wrong
answer = np.random.default_rng(7).permutation(len(gallery))

# %% Exercise 13.3
answer = "b"

# %% Exercise 13.3 wrong
answer = "a"
