"""What the commands say, and how they end."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

import typer
from typer.core import TyperGroup

EXPECTED = (ValueError, TypeError, OSError, ImportError)
USAGE: Any = typer.BadParameter.__mro__[1]  # click's UsageError, or that of typer's own copy
FAILED, REFUSED, INTERRUPTED = 1, 2, 130


class Commands(TyperGroup):
    """Commands whose refusals are one message on standard error, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except USAGE as error:
            error.message = printable(error.message)
            raise
        except EXPECTED as error:
            if ctx.params.get("debug"):
                raise
            echo(f"error: {error}", err=True)
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            said = f"interrupted {error}".rstrip() + "; nothing was written."
            typer.echo(said, err=True)
            raise typer.Exit(INTERRUPTED) from error


def echo(message: str, *, err: bool = False) -> None:
    """Print a message whose names, labels and paths may hold what a terminal obeys."""
    typer.echo(printable(message).replace("\n", "\n  "), err=err)


def printable(text: str) -> str:
    r"""A text with control characters spelled out, but for line breaks.

    Those that change the direction of writing, or cannot be encoded, are spelled out as well.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(
        each if _shows(each) else each.encode("unicode_escape").decode() for each in text
    )


def _shows(sign: str) -> bool:
    return sign.isprintable() or sign == "\n" or unicodedata.category(sign) == "Zs"


def say(message: str, *, quiet: bool = False) -> None:
    """A remark on standard error."""
    if not quiet:
        echo(message, err=True)


def warn(message: str) -> None:
    """A warning on standard error, also where remarks are not wanted."""
    echo(f"warning: {message}", err=True)


def finish(answer: dict[str, Any], as_json: bool) -> None:
    """Print a command's answer on standard output, and end with its exit code."""
    shown = plain(answer)
    if as_json:
        text = json.dumps(shown, indent=2, ensure_ascii=False)
        typer.echo("".join(each if _shows(each) else json.dumps(each)[1:-1] for each in text))
    else:
        for line in _lines(shown):
            echo(line)
    code = shown.get("result", {}).get("code")
    if code == "failed":
        raise typer.Exit(FAILED)
    if code == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _lines(answer: dict[str, Any]) -> list[str]:
    """The answer for people: one line per entry, figures to four digits."""
    width = max(map(len, answer), default=0)
    return [f"{name.ljust(width)}  {_short(value)}" for name, value in answer.items()]


def _short(value: Any) -> str:
    if isinstance(value, dict) and "message" in value:
        return f"{value['message']}"
    if isinstance(value, dict) and set(value) == {"value", "error"}:
        return f"{_short(value['value'])} ± {value['error']:.2g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """Plain data for JSON: a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
