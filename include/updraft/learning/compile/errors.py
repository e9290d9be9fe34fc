"""Why a pipeline is not compiled."""


class NotCompiled(Exception):
    """A fitted pipeline has something that has no compiled form."""
