"""Whatever is sent to the API, its answers are those that its own description promises, and never a fault."""

import pytest
from hypothesis import HealthCheck, given, settings

from playhead.apps.web.server import create_app
from playhead.apps.web.settings import WebSettings

FUZZED = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def test_every_operation_answers_as_described(world_index):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    # Read-only, since a path such as "/" may well be thought of.
    app = create_app(world_index, WebSettings(read_only=True, names=("testserver",)), warm=False)
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 11
    seen = set()
    for operation in operations:

        @FUZZED
        @given(case=operation.as_strategy())
        def fuzz(case):
            answer = case.call()
            # An empty question is of the form described, and is refused all the same.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])
            assert answer.status_code < 500 or answer.status_code == 503
            seen.add(answer.status_code)

        fuzz()
    assert {200, 403, 404} <= seen
