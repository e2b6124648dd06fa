"""The error tree: every failure that a user can cause or meet has a class here and, through it, an exit code.

Each error is also the builtin that a Python caller would expect, survives pickling (dask sends errors between
processes), and carries a message that names the offending value, the file it came from and the remedy.
"""

from __future__ import annotations


class CryodaskError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class ConfigError(CryodaskError, ValueError):
    """A parameter, option or configuration file is wrong, or the machine is too small for it."""

    exit_code = 2


class DataError(CryodaskError, ValueError):
    """An input file or array is missing, damaged or not what it claims to be."""

    exit_code = 3


class StoreError(CryodaskError):
    """A data set store cannot be read or written as asked."""

    exit_code = 3


class NotInStoreError(StoreError, FileNotFoundError):
    """The store or the group within it does not exist."""


class BackendError(CryodaskError):
    """An array library or device that was asked for is not usable."""


class ClusterError(CryodaskError, RuntimeError):
    """No cluster could be started or reached, or it was lost."""

    exit_code = 4


class TaskError(CryodaskError):
    """A task failed on a worker for a reason that is not the input's."""


class PluginError(CryodaskError, LookupError):
    """A plug-in is missing or broken."""

    exit_code = 2
