"""The one error that a user is meant to read."""


class RlqkitError(Exception):
    """A problem that the user can mend: one line that names the thing and the remedy.

    The command line prints it without a traceback and exits with code 2. Everything that meets
    the outside (configuration, files, labels, checkpoints) raises it; a bare Python exception
    that reaches the user is a bug of the kit.
    """
