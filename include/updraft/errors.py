"""Errors that a person must fix."""


class UserError(Exception):
    """A mistake in configuration, data or a call. Told in one line, without a traceback, and never tried again."""


class BadData(UserError):
    """The rows cannot be used; the message says which, where the rest is kept, and what was expected."""
