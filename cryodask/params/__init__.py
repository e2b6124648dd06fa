"""Parameters of every stage as frozen dataclasses, the strict way from text to them, and tokens of what was asked."""

from cryodask.params.loader import Described, changed, describe, load_parameters, preset_names, to_dict
from cryodask.params.schema import RunParameters
from cryodask.params.tokens import short_token, token

__all__ = [
    "Described",
    "RunParameters",
    "changed",
    "describe",
    "load_parameters",
    "preset_names",
    "short_token",
    "to_dict",
    "token",
]
