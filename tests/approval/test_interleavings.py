"""A few interleavings; `scripts/approvals_soak` runs thousands."""

from hypothesis import HealthCheck, settings

from tests.approval.interleavings import Interleavings

TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
