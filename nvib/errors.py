"""The one exception of the library: a sentence that a visitor can act on."""


class NVError(Exception):
    """What the caller passed cannot be used; the message is one sentence that names it and says what to do."""
