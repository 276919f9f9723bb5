"""How a page says no."""

from mcpgw.core.model import RefusalCode


class Turned(Exception):
    """The request is turned away. The message is for the person, and holds nothing of the request."""

    def __init__(
        self, status: int, message: str, *, hint: str = "", code: RefusalCode = RefusalCode.MALFORMED, recorded: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint
        self.code = code
        self.recorded = recorded
