"""How a page, or the API, says no."""

from collections.abc import Mapping

from mcpgw.core.model import RefusalCode


class Turned(Exception):
    """The request is turned away. The message is for the person, and holds nothing of the request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str = "",
        code: RefusalCode = RefusalCode.MALFORMED,
        recorded: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint
        self.code = code
        self.recorded = recorded
        self.headers = headers or {}
