"""Errors that people see."""


class ForebayError(Exception):
    """Something that a message explains; commands print it and exit 1."""


class UsageError(ForebayError):
    """The command was called wrongly; exit 64."""
