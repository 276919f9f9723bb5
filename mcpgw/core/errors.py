"""One short tree of errors. Each says whose fault it is and what to do; wire codes are chosen in `inbound` alone."""


class GatewayError(Exception):
    """Anything that mcpgw raises on purpose.

    `str(error)` is safe to show to the caller and to record: it never holds a payload, a credential or an upstream's words.
    `hint` is one imperative sentence for the person who can mend it, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(GatewayError):
    """The admin's files or environment are wrong. `where` is `file:line` or `file: key`, as exact as is known."""

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.where = where


class AuthenticationError(GatewayError):
    """The caller's credential is missing, wrong, expired or revoked. The message never says which secret was seen."""


class LedgerUnavailable(GatewayError):
    """The record could not be made durable, so nothing may happen and nothing may be answered."""


class NotAnchored(LedgerUnavailable):
    """The record can be written, but its checkpoints do not leave in time, and calls must wait for that here."""


class ApprovalConflict(GatewayError):
    """An approval is not in the state that a transition needs: already settled, already spent, expired or foreign."""


class RedactionError(GatewayError):
    """The reply could not be redacted, wholly and in time, so it is withheld."""


class VaultError(GatewayError):
    """A raw payload that belongs into the vault could not be sealed, so what it belongs to may not happen or be answered."""


class UpstreamError(GatewayError):
    """The upstream could not be asked, or did not answer in the protocol.

    `sent` is False only when it is certain that the request never reached the upstream: then there was no effect.
    """

    def __init__(self, message: str, *, sent: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.sent = sent


class QuestionRefused(GatewayError):
    """A question of an upstream to the caller of a call is not put, or has no answer. The call may fail for it."""
