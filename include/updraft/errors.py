"""The one base of errors that a person must mend."""


class UserError(Exception):
    """A mistake in configuration, data or a call. Told in one line, without a traceback, and never tried again."""
