"""Options that take several values in a row: ``--templates A.mrc B.mrc`` is ``--templates A.mrc --templates B.mrc``."""

from __future__ import annotations

import click


class SeveralValues(click.Command):
    """A command whose repeatable options may be followed by more than one value.

    Only once the command's own argument has been seen: before it, the word after the first value is that argument.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option's name before each further value, which is what click understands."""
        options = [p for p in self.params if isinstance(p, click.Option)]
        with_value = {name for p in options if not (p.is_flag or p.count) for name in p.opts}
        repeatable = {name for p in options if p.multiple for name in p.opts}
        spread: list[str] = []
        open_option, value_of, argument_seen = "", "", False
        for position, word in enumerate(args):
            if word == "--":
                spread += args[position:]
                break
            if value_of:
                open_option, value_of = value_of if value_of in repeatable else "", ""
            elif word.startswith("-") and len(word) > 1:
                open_option, value_of = "", word if word in with_value else ""
            elif open_option and argument_seen:
                spread.append(open_option)
            else:
                open_option, argument_seen = "", True
            spread.append(word)
        return super().parse_args(ctx, spread)
