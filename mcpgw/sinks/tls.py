"""TLS towards a receiver: verified, 1.2 or newer, with a certificate of ours where the receiver asks for one."""

import ssl

from mcpgw.core.errors import ConfigError
from mcpgw.sinks.config import Tls


def client_context(name: str, tls: Tls) -> ssl.SSLContext:
    """Return a context that checks the receiver's certificate and name.

    Raises:
        ConfigError: a file is missing or no PEM.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        hint = "`ca`, `certificate` and `key` name PEM files; a key must not be encrypted."
        raise ConfigError(f"the TLS files cannot be used: {type(error).__name__}", where=f"sinks.{name}", hint=hint) from error
    return context


def _no_password() -> str:
    """Called only where a key is encrypted: OpenSSL would ask the terminal otherwise."""
    raise ValueError("the key is encrypted")
