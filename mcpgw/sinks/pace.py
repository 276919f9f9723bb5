"""How patient a delivery is."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """All in seconds."""

    poll_s: float = 1.0
    """Between two looks at the log while everything is delivered: how late an event is at most when all is well."""
    standby_s: float = 2.0
    """Between two tries to take over from another process."""
    first_retry_s: float = 0.5
    longest_retry_s: float = 60.0
    outage_s: float = 10.0
    """How long nothing moves before that is a record of its own: a blip is none."""

    def pause(self, failures: int, asked_s: float = 0.0) -> float:
        """Return how long to wait after so many failures in a row; with jitter, so that sinks do not come back in step.

        What the receiver asked for is a lower bound, itself bounded by `longest_retry_s`.
        """
        doublings = min(failures - 1, 30)  # beyond it the bound rules anyway, and floats have an end
        longest = min(self.longest_retry_s, self.first_retry_s * float(2**doublings))
        jittered = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load; nobody gains by guessing it
        return max(jittered, min(asked_s, self.longest_retry_s))
