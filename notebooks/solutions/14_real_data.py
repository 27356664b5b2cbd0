# %% Exercise 14.1
import re


def parse(name):
    found = re.fullmatch(r"(\d+)_(\d+)_c(\d+)_(\d+)\.\w+", name)
    return tuple(int(part) for part in found.groups()[:3]) if found else None


answer = parse


# %% Exercise 14.1 wrong
import re


def parse(name):
    parts = re.findall(r"\d+", name)
    return tuple(int(part) for part in parts[1:4])


answer = parse

# %% Exercise 14.2
answer = (benchmark[test.query].sizes.min(axis=1) < 64).mean()

# %% Exercise 14.2 wrong
answer = 1.5


# %% Exercise 14.3
def damage(folder):
    file = next(Path(folder).rglob("query/*.png"))
    file.write_bytes(file.read_bytes()[:200])


answer = damage


# %% Exercise 14.3 wrong
def damage(folder):
    Path(folder, "notes.txt").write_text("nothing happened")


answer = damage

# %% Exercise 14.4
answer = "a"

# %% Exercise 14.4 wrong
answer = "c"
