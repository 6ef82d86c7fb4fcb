"""`MaclipError`, the only error that users see: a stable code, a sentence and a fix."""

from __future__ import annotations

from maclip_runtime.redaction import one_line, redact_text

EXIT_OUR_FAULT = 1
EXIT_USER_INPUT = 2
EXIT_MACHINE_LACKS = 3
EXIT_INTERRUPTED = 130

MAX_MESSAGE_LENGTH = 10_000  # characters; of a longer message the middle is left out


class MaclipError(Exception):
    """An error that the user can act on.

    code: kebab-case and stable, so that programs may compare it.
    message: one sentence that says what is wrong. Addresses in it lose their credentials, and it is one line whatever
        the names in it are.
    fix: what to do about it.
    exit_code: the command's exit code: 1 our fault, 2 the user's input, 3 the machine lacks something.

    >>> MaclipError("clip-unreadable", "a.mp4 holds no video.", "Give a file with a video stream.").code
    'clip-unreadable'
    """

    def __init__(self, code: str, message: str, fix: str, exit_code: int = EXIT_USER_INPUT) -> None:
        message, fix = _shown(redact_text(message)), _shown(fix)  # a fix shows how an address is written
        super().__init__(f"{message} {fix}")
        self.code = code
        self.message = message
        self.fix = fix
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[MaclipError], tuple[str, str, str, int]]:
        return type(self), (self.code, self.message, self.fix, self.exit_code)


def _shown(text: str) -> str:
    shown = one_line(text)
    half = MAX_MESSAGE_LENGTH // 2
    return shown if len(shown) <= 2 * half else f"{shown[:half]} … {shown[-half:]}"


def first_line(error: object) -> str:
    """The first line of an error's message, at most 200 characters, for use inside a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
