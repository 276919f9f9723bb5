"""Names and limits of the console, as plain values."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleConfig:
    name: str
    """What the gateway calls itself."""
    version: str
    public_url: str
    """Where people reach it, without a path: decides which cookies are for https alone."""
    auditors: tuple[str, ...] = ()
    """`group:` or `user:` with a name, or with `ISSUER#NAME`: who may read the log and the upstreams. Empty: nobody."""
    session_idle_s: float = 900.0
    session_max_s: float = 28_800.0
    api: bool = False
    """Whether there is the HTTP API for verdicts too."""

    def is_secure(self, scheme: str, host: str) -> bool:
        """Tell whether the browser sees https: here, or at the proxy in front of us that terminates TLS."""
        public = urlsplit(self.public_url)
        return scheme == "https" or (public.scheme == "https" and host.lower() == public.netloc.lower())
