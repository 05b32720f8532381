"""What can go wrong between a rule file and a channel, named for what to do about it."""


class AlertsError(Exception):
    """Root of everything that alerts raise on purpose."""


class RuleFileError(AlertsError):
    """A rule file can't be used: file, place and allowed values are in the text."""

    def __init__(self, file: str, place: str, problem: str) -> None:
        self.file = file
        self.place = place
        self.problem = problem
        super().__init__(f"{file}: {place}: {problem}" if place else f"{file}: {problem}")


class DeliveryError(AlertsError):
    """A message did not provably arrive."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class NotAppliedError(DeliveryError):
    """The channel provably did not take it: safe to send again after `retry_after_seconds`."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(reason)


class UnclearError(DeliveryError):
    """It may or may not have arrived: look before sending again."""


class RefusedError(DeliveryError):
    """The channel will never take it as it is (unknown channel, missing scope): an operator must act.

    `code` is the service's own word for it, empty where it gave none.
    """

    def __init__(self, reason: str, code: str = "") -> None:
        self.code = code
        super().__init__(reason)


class ContentRefusedError(DeliveryError):
    """The channel refuses this content (too long, invalid blocks): a plain, short text may pass."""


class TokenRefusedError(DeliveryError):
    """The token itself is refused: nothing can be sent anywhere until it is replaced."""
