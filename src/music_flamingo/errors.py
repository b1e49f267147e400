"""Mistakes a user can mend: the command line prints one line and exits with status 2."""


class UserError(ValueError):
    """Bad input. The message is one line: what was expected, what came, which file and field, what to do."""
