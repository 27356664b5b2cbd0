"""`python -m rlqkit` is the `rlqkit` command."""

from rlqkit.cli import main

if __name__ == "__main__":
    main()
