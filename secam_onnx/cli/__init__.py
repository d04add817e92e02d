"""The command line: one module a command, each loaded only when it runs."""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from importlib.metadata import version

import click

from secam_onnx.cli.console import say, say_lines, show_tracebacks_safely
from secam_onnx.cli.stopping import watch
from secam_onnx.cli.streams import flush, of_click, open_closed
from secam_onnx.errors import PreprocessingWarning, SecamError
from secam_onnx.memory import claim_process, out_of_memory
from secam_onnx.shown_text import shown

__all__ = ["command", "main"]

_COMMANDS = {
    "bench": "Measure what an explanation costs.",
    "demo": "Open a page that explains photographs in the browser.",
    "explain": "Explain what a classifier saw in photographs.",
    "export": "Make an explainable model from a network or an ONNX file.",
    "serve": "Serve explanations over HTTP and gRPC (KServe, Open Inference Protocol).",
    "inspect": "Show what is found in a model: head, feature map, reasons.",
}


class _LazyGroup(click.Group):
    """Lists the commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"secam_onnx.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, _COMMANDS, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(_COMMANDS)}."
            if not near and os.path.exists(name):  # noqa: PTH110 (False for a name that is too long)
                meant = f"to explain a photograph, type: secam-onnx explain {name}"
            raise click.UsageError(f"{name!r} is not a command; {meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("secam-onnx"), "--version", package_name="secam-onnx")
def command() -> None:
    """Explain any ONNX image classifier: which superpixels carried the decision."""


_shown: set[str] = set()


def _shown_once(message: Warning | str, *_: object) -> None:
    """Show a warning once, without its place in the code."""
    if str(message) not in _shown:
        _shown.add(str(message))
        say(f"Warning: {message}", err=True)


def _with_model_hint(error: click.ClickException) -> click.ClickException:
    """Say what to do with a model that was given as an argument to a command where it is an option."""
    context = getattr(error, "ctx", None)
    if context is None or "unexpected extra argument" not in error.message:
        return error
    if not any("--model" in parameter.opts for parameter in context.command.params):
        return error
    return click.UsageError(f"{error.message}; name the model with --model.", context)


def _show_error(error: click.ClickException) -> None:
    """Show an error of click's as it does, with one line for the message, which quotes arguments."""
    if not isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # whose message has our lines
        error = click.UsageError(shown(error.format_message()), getattr(error, "ctx", None))
    said = io.StringIO()
    error.show(said)
    say_lines(said.getvalue().rstrip("\n"), err=True)


def _without_folder() -> str | None:
    """What to say where the current folder is gone, so that no relative path leads anywhere."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return "The current folder was removed; change to another one, or give absolute paths."
    return None


def main() -> None:
    """Run the command line.

    A `SecamError` ends it with its message and code 2, Ctrl-C with code 130, SIGTERM with 143, `--timeout` with 124.
    """
    open_closed()
    claim_process()
    watch.start()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal may lack characters of class and file names
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:  # Pillow warns of EXIF data, which is of no use to the user
        warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.simplefilter("ignore", PreprocessingWarning)  # the commands print it themselves
    warnings.showwarning = _shown_once  # type: ignore[assignment]
    show_tracebacks_safely()
    try:
        code = command(standalone_mode=False)
    except BaseException as error:
        code = watch.code  # whatever was raised when the command was stopped
        if code is None:
            code = _code_of(error)
        else:
            say(watch.message, err=True)
    watch.end_after(None)
    try:
        flush()
    except SecamError as error:
        code = _code_of(error)
    sys.exit(code if isinstance(code, int) else 0)


def _code_of(error: BaseException) -> int:
    """Say what is wrong, if that can be said in a sentence; gives the exit code."""
    unwritten = of_click(error) or _without_folder() if isinstance(error, OSError) else None
    if isinstance(error, click.ClickException):
        _show_error(_with_model_hint(error))
    elif isinstance(error, SecamError) or unwritten is not None:
        say(f"Error: {unwritten or error}", err=True)
    elif isinstance(error, click.exceptions.Abort):  # the input ended
        say("Stopped. No file was left incomplete.", err=True)
    elif memory := out_of_memory(error):
        say(f"Error: {memory}", err=True)
    elif isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        say("Error: This system allows no further thread. Raise the limit (ulimit -u), or lower --threads.", err=True)
    else:
        raise error
    return 2
