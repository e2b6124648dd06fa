"""The cluster of two processes, as the tests of the workflows have it."""

from tests.workflows.conftest import two_workers

__all__ = ["two_workers"]
