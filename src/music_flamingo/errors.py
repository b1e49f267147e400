"""Mistakes a user can mend: the command line prints one line and exits with status 2."""


class UserError(ValueError):
    """Bad input. The message is one line: what was expected, what came, which file and field, what to do."""

    exit_status = 2


class ErrorsFoundError(UserError):
    """A check did its work and found what it looks for; another exit status than for a check that could not run."""

    exit_status = 1
