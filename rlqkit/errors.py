"""The one error that a user is meant to read."""


class RlqkitError(Exception):
    """A problem that the user can mend: one line that names the thing and the remedy.

    The command line prints it without a traceback and exits with code 2. Everything that meets
    the outside (configuration, files, labels, checkpoints) raises it; a bare Python exception
    that reaches the user is a bug of the kit.
    """


def one_line(error: BaseException) -> str:
    """What to tell the user of an error: its own line, without what passed it on.

    torch's data-loading workers wrap an error in their traceback, which ends in the error.
    """
    own_name = f"{RlqkitError.__module__}.{RlqkitError.__name__}: "
    text = str(error).strip() or type(error).__name__
    if isinstance(error, RlqkitError):
        return " ".join(text.rpartition(own_name)[2].split())
    return text.splitlines()[-1]
