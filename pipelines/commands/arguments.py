"""Arguments that the commands of this package share."""

from collections.abc import Sequence


def refuse_unknown(beam_options: Sequence[str]) -> None:
    """Refuse options that neither the command nor Beam knows; Beam is only imported where there are some.

    Raises:
      UsageError: there is such an option.
    """
    if beam_options:
        from pipelines.runners.options import reject_unknown_options

        reject_unknown_options(list(beam_options))
