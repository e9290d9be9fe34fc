"""Errors that only a person can fix."""


class UserError(Exception):
    """A mistake in configuration, data or a call: reported in one line, without a traceback, and never retried."""


class BadData(UserError):
    """Rows that cannot be used; the message says which, where they are kept, and what was expected."""
