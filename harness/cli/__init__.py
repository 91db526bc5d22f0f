"""The command line: arguments in, tables and exit codes out; no logic of its own."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the program; every `HarnessError` becomes one message and its exit code."""
    # vLLM, DeepSpeed and tokenizers read these once at import; set here so that no command forgets.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from harness.cli.app import app

    try:
        app()
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing is lost: the same command continues where it stopped.\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has gone; that is its choice, not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        from harness.errors import HarnessError

        if not isinstance(error, HarnessError):
            raise
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)
