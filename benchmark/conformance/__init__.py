"""The checks that every method must pass, and the files that a new method starts from.

In another package's tests::

    from benchmark.conformance import method_checks

    @method_checks("my_kd", expected_failures={"bf16": "needs double precision"})
    def test_my_kd(check):
        check()
"""

from benchmark.conformance.checks import CHECKS, CheckError, Outcome, method_checks, run_checks
from benchmark.conformance.detector_suite import detector_checks

__all__ = ["CHECKS", "CheckError", "Outcome", "detector_checks", "method_checks", "run_checks"]
