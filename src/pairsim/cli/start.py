"""Start the command line as a process: signals are handled before anything large is imported."""

from __future__ import annotations

import sys

from pairsim.cli.signals import catch_signals, expect_no_more


def main() -> None:
    """Run the command line and exit with its status; a warning is one line, without its place in the source."""
    catch_signals()
    try:
        import warnings

        from pairsim.cli.app import run
        from pairsim.cli.option_names import in_options
        from pairsim.errors import printable

        warnings.formatwarning = lambda message, *_, **__: f"{printable(in_options(str(message)))}\n"
        status = run(sys.argv[1:])
        expect_no_more()
    except KeyboardInterrupt as error:  # raised while importing or reporting
        expect_no_more()
        from pairsim.cli.failures import report_failure

        status = report_failure(error)
    sys.exit(status)
