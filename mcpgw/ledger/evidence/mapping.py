"""Which controls a package is evidence for. A person decides whether a control works; a package shows what happened."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Control:
    """One control, where it is asked for, and what of a package bears on it."""

    source: str
    """Who asks, and in which text."""
    section: str
    """The number in that text."""
    asks: str
    """What it is about, in our words."""
    shows: str
    """What of the package is evidence for or against it."""


_GLBA = "GLBA, Interagency Guidelines Establishing Information Security Standards, 12 CFR 30 Appendix B"
_FTC = "GLBA, FTC Safeguards Rule, 16 CFR 314"
_FFIEC = "FFIEC IT Examination Handbook, Information Security booklet (September 2016)"
_PCI = "PCI DSS 4.0.1"
_SOX = "Sarbanes-Oxley Act"
_NYDFS = "NYDFS, 23 NYCRR 500"

CONTROLS = (
    Control(_FFIEC, "II.C.7(c)", "Segregation of duties", "held calls with their votes: nobody approved a call of his own"),
    Control(
        _FFIEC, "II.C.15", "Logical security: who may reach what", "each decision with the rule and the policy it was made by"
    ),
    Control(
        _FFIEC, "II.C.22", "Logs: kept, protected from alteration, useful afterwards", "the records, and the proof of them"
    ),
    Control(_GLBA, "III.C.1.a", "Access controls on systems with customer information", "identity and decision of each call"),
    Control(
        _GLBA, "III.C.1.e", "Dual control and separated duties", "held calls with their votes: who asked, who agreed, when"
    ),
    Control(
        _GLBA, "III.C.1.f", "Monitoring that detects actual and attempted attacks", "refused calls, with reason and origin"
    ),
    Control(
        _FTC, "314.4(c)(1)", "Access controls that are reviewed", "policies as they were in force, and what was allowed by them"
    ),
    Control(
        _FTC,
        "314.4(c)(8)",
        "Activity of authorized users is monitored and logged",
        "the records of each caller, with their numbers",
    ),
    Control(
        _PCI,
        "3.2.1",
        "Stored account data is kept to a minimum, and deleted when it is no longer needed",
        "which payloads were erased when and why",
    ),
    Control(
        _PCI, "3.4.1", "Card numbers are masked where they are shown", "what was masked in each call, by kind, place and count"
    ),
    Control(_PCI, "7.2.1", "An access control model by need and job", "policies as they were in force"),
    Control(_PCI, "10.2.1", "Audit logs of what happens to components and card data", "the records"),
    Control(_PCI, "10.2.2", "What each log entry says", "who, what kind, when, with which result, from where, on what"),
    Control(_PCI, "10.3.2", "Log files are protected from modification", "hashes, signed root, anchors"),
    Control(_PCI, "10.3.4", "A change of existing log data raises an alarm", "the verifiers' report on this package"),
    Control(_PCI, "10.5.1", "Logs are kept for at least twelve months", "that the range asked for is still there"),
    Control(
        _SOX, "section 302 (15 USC 7241)", "Officers evaluate internal controls", "approvals and changes of policy in the range"
    ),
    Control(
        _SOX,
        "section 404 (15 USC 7262)",
        "Internal control over financial reporting is assessed",
        "calls with financial effect, as decided and approved",
    ),
    Control(
        _NYDFS,
        "500.6(a)",
        "Audit trails, and transactions that can be reconstructed",
        "each call from request to outcome, in order",
    ),
    Control(
        _NYDFS,
        "500.13(b)",
        "Nonpublic information that is no longer needed is disposed of",
        "which payloads were erased when and why, by people and by sweeps, and the legal holds that kept others",
    ),
    Control(
        _NYDFS,
        "500.7(a)(1)",
        "Access to nonpublic information is limited to what a job needs",
        "policies as they were in force, and what each caller was allowed and denied",
    ),
    Control(
        _NYDFS,
        "500.7(a)(4)",
        "All access privileges are reviewed at least once a year",
        "who used what the policies grant, and when; `mcpgw report access-review` adds who did not",
    ),
    Control(
        _NYDFS, "500.14(a)(1)", "Activity of authorized users is monitored", "the records of each caller, refusals included"
    ),
)


def as_data() -> dict[str, object]:
    """Return the mapping as it stands in a package."""
    return {
        "note": (
            "Each line names a control and what of this package is evidence for it. It says nothing about whether the control "
            "is met: that depends on how the institution uses the gateway, on its risk assessment, and on whoever examines it."
        ),
        "controls": [{"source": one.source, "section": one.section, "asks": one.asks, "shows": one.shows} for one in CONTROLS],
    }
