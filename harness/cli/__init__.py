"""The command line: arguments in, tables and exit codes out; no logic of its own."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

# What a shell expects of a program that was ended by Ctrl-C; Typer returns it where it caught one itself.
_INTERRUPTED = 130
# And of one whose reader went away, such as `| head`.
_BROKEN_PIPE = 141
_ADVICE = {
    errno.ENOSPC: " Make room and run the same command again: what was finished is kept.",
    errno.EROFS: " Name a folder that can be written.",
    errno.EACCES: " Name a folder that can be written.",
}


def main() -> None:
    """Run the program; every `HarnessError` becomes one message and its exit code."""
    try:
        _main()
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing that was finished is lost: run the same command again.\n")
        sys.exit(_INTERRUPTED)


def _main() -> None:
    _open_streams()
    # vLLM, DeepSpeed and tokenizers read these once at import; set here so that no command forgets.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import typer

    from harness.cli.app import app

    try:
        # Not standalone: that mode would swallow Ctrl-C and the harness's own errors.
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            # Click has caught it, and would say 1 as for something that failed.
            _leave_broken_pipe()
        raise
    except Exception as error:
        show = getattr(error, "show", None)
        if show is not None:
            # Usage errors of the command line itself know how to show themselves; pydantic's prefix says nothing.
            error.message = str(getattr(error, "message", "")).replace("Value error, ", "")  # type: ignore[attr-defined]
            show()
            sys.exit(getattr(error, "exit_code", 2))
        from harness.errors import HarnessError

        if isinstance(error, BrokenPipeError):
            _leave_broken_pipe()
        if isinstance(error, OSError):
            # A full disk or a folder that may not be written: no bug of ours, and a trace would not help.
            where = error.filename or "standard output, or a file that the system does not name"
            sys.stderr.write(f"Error: {where}: {error.strerror or error}.{_ADVICE.get(error.errno or 0, '')}\n")
            sys.exit(1)
        if isinstance(error, UnicodeEncodeError):
            sys.stderr.write(
                f"Error: the encoding {error.encoding} of the output has no {error.object[error.start]!a}. Set"
                " PYTHONIOENCODING=utf-8.\n"
            )
            sys.exit(1)
        if not isinstance(error, HarnessError):
            raise
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)


def _leave_broken_pipe() -> NoReturn:
    """End quietly: else Python writes what is left at its end, and complains."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(_BROKEN_PIPE)


def _open_streams() -> None:
    """Give a stream that the caller closed (`>&-`) a place to go, so that no file of ours takes its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
