"""Raw to clean: what leaves the gateway, or enters its record, without the personal data and secrets in it.

`PresidioRedactor` is the door. Importing this package loads neither spaCy nor Presidio; the workers do.
"""

from mcpgw.redaction.config import Audience, Blobs, Operator, Profile, RedactionConfig, TokenScope
from mcpgw.redaction.definition import ShownDefinitions
from mcpgw.redaction.recognizers import Recognizer
from mcpgw.redaction.redactor import Bare, PresidioRedactor
from mcpgw.redaction.schema import relaxed_output_schema

__all__ = [
    "Audience",
    "Bare",
    "Blobs",
    "Operator",
    "PresidioRedactor",
    "Profile",
    "Recognizer",
    "RedactionConfig",
    "ShownDefinitions",
    "TokenScope",
    "relaxed_output_schema",
]
