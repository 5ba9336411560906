"""Errors that people see."""


class ForebayError(Exception):
    """It cannot be done, and a message says why: a file is missing or wrong, something does not answer. Commands print it and exit 1."""


class UsageError(ForebayError):
    """The command was called wrongly: an option or an argument, alone or beside others, or for what it is asked about. Exit 64."""
