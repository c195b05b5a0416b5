"""What a server tells of its models is asked for once a day; a call against it is told before a cent is spent."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch.contradictions import Asked
from dfbatch.errors import ApiError, InputError, NotFound, OptionError
from dfbatch.run.limits import DAY, Limits, Told, keep, kept_of

from .cells import Cells
from .clocks import MovingClock
from .plain_server import succeeded
from .sites import KEY, Emulated, Plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dfbatch.emulator import Server

FEW, MANY = ["a", "b", "c"], [f"text {at}" for at in range(30)]
HAIKU = "claude-haiku-4-5"
LONG = ["output-300k-2026-03-24"]
NO, YES = {"supported": False}, {"supported": True}
ONE = {"GET /v1/messages/batches": 1, "GET /v1/models/{id}": 1}  # the proof of the address, and the question

pytestmark = [
    pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning"),
    pytest.mark.usefixtures("haiku_4_5"),
]


def info(model: str = HAIKU, **more: Any) -> dict[str, Any]:
    return {"type": "model", "id": model, "max_input_tokens": 200_000, "max_tokens": 64_000} | more


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, a server that tells is heard."""
    monkeypatch.setattr("dfbatch.run.limits.PATIENCE", 60.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with Emulated(engine="sample") as serving:
        yield serving


@pytest.fixture
def site() -> Iterator[Plain]:
    """A server of our own, that tells of one model."""
    with Plain() as serving:
        serving.models[HAIKU] = info()
        yield serving


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovingClock:
    """One that stands still until somebody pauses, or the test moves it."""
    moving = MovingClock()
    monkeypatch.setattr("dfbatch.run.clock.wall", moving)
    return moving


def begin(server: Any, texts: list[str] = FEW, schema: Any = None, **options: Any) -> dfbatch.Run:
    frame: Any = pl.DataFrame({"text": texts})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    run: dfbatch.Run = frame.claude.submit("{text}", schema, backend=backend, progress=False, **options)
    return run


def ask(server: Any, texts: list[str] = FEW, schema: Any = None, **options: Any) -> dfbatch.Run:
    return begin(server, texts, schema, **options).wait()


def plan(server: Any, texts: list[str] = FEW, schema: Any = None, **options: Any) -> dfbatch.Plan:
    frame: Any = pl.DataFrame({"text": texts})
    made: dfbatch.Plan = frame.claude.plan(
        "{text}", schema, backend=dfbatch.Anthropic(api_key=KEY, base_url=server.url), **options
    )
    return made


def files(home: Path) -> list[Path]:
    return sorted((home / "models").rglob("*"))


# ------------------------------------------------------------------ told before it is sent


@pytest.mark.parametrize("texts", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize(
    ("options", "what", "known", "hint"),
    [
        (
            {"max_tokens": 100_000},
            "max_tokens=100000 is more than claude-haiku-4-5 can write",
            "64,000 tokens an answer at most",
            "max_tokens=64000",
        ),
        (
            {"max_tokens": 200_000, "model": "claude-sonnet-4-6"},
            "max_tokens=200000 is more than claude-sonnet-4-6 can write",
            "128,000 tokens an answer at most",
            'max_tokens=128000; betas=["output-300k-2026-03-24"] allows 300,000 in a batch',
        ),
        (
            {"params": {"thinking": {"type": "adaptive"}}},
            'params={"thinking": {"type": "adaptive"}} is refused by claude-haiku-4-5',
            "it takes disabled or enabled",
            'params={"thinking": {"type": "disabled"}}, or leave thinking out',
        ),
        (
            {"params": {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "model": "claude-opus-5"},
            'params={"thinking": {"type": "enabled"}} is refused by claude-opus-5',
            "it takes adaptive or disabled",
            'params={"thinking": {"type": "adaptive"}}, or leave thinking out',
        ),
    ],
)
def test_a_call_against_what_the_server_tells_costs_nothing(
    server: Server, texts: list[str], options: dict[str, Any], what: str, known: str, hint: str
) -> None:
    with pytest.raises(OptionError) as caught:
        ask(server, texts, **({"max_tokens": 2000} | options))

    lines = str(caught.value).splitlines()
    assert lines[0] == what
    assert f"/v1/models of {server.url} says: {known}" in lines
    assert lines[-1] == f"Hint: {hint}"
    assert isinstance(caught.value, InputError)
    assert (server.usage()["dollars"], server.usage()["requests"], server.usage()["calls"]) == (0, 0, ONE)


@pytest.mark.parametrize(
    ("told", "schema", "what"),
    [
        (
            {"capabilities": {"structured_outputs": NO}},
            Literal["x", "y"],
            "schema= (output_config.format) needs structured outputs, which claude-haiku-4-5 does not have",
        ),
        ({"capabilities": {"batch": NO}}, None, "model='claude-haiku-4-5' cannot be asked in a batch"),
        ({"max_tokens": 1000}, None, "max_tokens=1024 is more than claude-haiku-4-5 can write"),
    ],
)
def test_what_only_another_server_says_is_heeded_too(site: Plain, told: dict[str, Any], schema: Any, what: str) -> None:
    site.models[HAIKU] |= told
    with pytest.raises(OptionError) as caught:
        ask(site, MANY, schema)

    assert str(caught.value).startswith(what + "\n")
    assert (site.made(), site.calls("create"), site.calls("messages"), site.calls("models")) == ([], 0, 0, 1)


def test_a_model_without_a_price_is_held_to_what_is_told_of_it(site: Plain) -> None:
    site.models["mine"] = info("mine", max_tokens=500)
    with pytest.raises(OptionError, match="max_tokens=1024 is more than mine can write"):
        ask(site, model="mine")

    assert ask(site, model="mine", max_tokens=500).counts == {"succeeded": 3}


def test_a_mistyped_model_is_told_with_the_one_that_may_be_meant(server: Server) -> None:
    with pytest.raises(NotFound, match="model: claude-haiku-45") as caught:
        ask(server, model="claude-haiku-45")

    assert "\nHint: did you mean model='claude-haiku-4-5'?" in str(caught.value)
    assert isinstance(caught.value, ApiError)
    assert (server.usage()["requests"], server.usage()["calls"]) == (0, ONE)


def test_thinking_that_leaves_nothing_for_the_answer_is_told(server: Server) -> None:
    with pytest.raises(OptionError, match="the Messages API says: budget_tokens must be below max_tokens"):
        ask(server, params={"thinking": {"type": "enabled", "budget_tokens": 1024}})

    assert server.usage()["requests"] == 0


def test_the_beta_of_long_answers_lifts_the_limit_in_batches_alone(server: Server) -> None:
    long: Any = {"model": "claude-sonnet-4-6", "max_tokens": 200_000, "betas": LONG, "budget": 100.0}
    frame: Any = pl.DataFrame({"text": FEW})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    with pytest.raises(OptionError, match="counts in batches alone"):
        frame.claude.preview("{text}", backend=backend, progress=False, **long)
    assert server.usage()["requests"] == 0

    assert ask(server, **long).counts == {"succeeded": 3}
    assert server.usage()["calls"]["GET /v1/models/{id}"] == 1


def test_a_model_that_takes_no_batches_may_be_asked_at_once(site: Plain) -> None:
    site.models[HAIKU] |= {"capabilities": {"batch": NO}}
    frame: Any = pl.DataFrame({"text": FEW})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    out = frame.claude.preview("{text}", backend=backend, progress=False)

    assert out["answer"].to_list() == ["answer to a", "answer to b", "answer to c"]


def test_the_cell_that_was_mended_asks_all_rows_once(server: Server) -> None:
    with pytest.raises(OptionError):
        ask(server, MANY, max_tokens=100_000)
    run = ask(server, MANY, max_tokens=1000)

    assert run.counts == {"succeeded": 30}
    assert set(server.usage()["billed_by_digest"].values()) == {1}


# ------------------------------------------------------------------ by hand, and later


def test_a_retry_against_it_is_told_and_the_run_stays_as_it_was(server: Server) -> None:
    server.house.faults.arm(["errored:times=1"])
    run = ask(server, retries=0)
    before = [(chunk.id, chunk.state) for chunk in run._ledger.chunks(run.id)]
    counts, calls = run.counts, server.usage()["requests"]
    assert counts == {"errored": 1, "succeeded": 2}
    for change, kind in (({"max_tokens": 100_000}, OptionError), ({"model": "claude-haiku-45"}, NotFound)):
        with pytest.raises(kind):
            run.retry(**change)

    assert [(chunk.id, chunk.state) for chunk in run._ledger.chunks(run.id)] == before
    assert (run.counts, run.status, server.usage()["requests"]) == (counts, "done", calls)
    assert run.retry(max_tokens=2000).wait().counts == {"succeeded": 3}


def test_going_on_is_held_to_what_is_told_by_then(site: Plain) -> None:
    site.telling = 500
    site.lose(400, accepted=False)
    with pytest.raises(ApiError):
        ask(site)
    site.telling = 200
    site.models[HAIKU] |= {"capabilities": {"batch": NO}}
    run = dfbatch.open(dfbatch.last_run().id, backend=dfbatch.Anthropic(api_key=KEY, base_url=site.url))
    run._progress = False
    with pytest.raises(OptionError, match="cannot be asked in a batch"):
        run.resume().wait()

    assert (site.calls("create"), site.bills()) == (1, [])


def test_an_automatic_try_with_more_room_asks_for_no_more_than_there_is(site: Plain) -> None:
    site.models[HAIKU] |= {"max_tokens": 100}

    def result(params: dict[str, Any]) -> dict[str, Any]:
        return succeeded("cut", params["model"], stop_reason="max_tokens" if params["max_tokens"] < 100 else "end_turn")

    site.result = result
    assert ask(site, max_tokens=40).counts == {"succeeded": 3}
    assert [held[0]["params"]["max_tokens"] for held in site.requests.values()] == [40, 100]


# ------------------------------------------------------------------ kept a day


def test_it_is_asked_for_once_a_day(site: Plain, clock: MovingClock) -> None:
    asked = []
    for text in "abcd":
        clock.moved += DAY * 1.01 * (text == "c")
        ask(site, [text])
        asked.append(site.calls("models"))

    assert asked == [1, 1, 2, 2]


def test_each_model_and_each_server_is_asked_for_itself(site: Plain) -> None:
    site.models["mine"] = info("mine")
    ask(site)
    ask(site, model="mine")
    with Plain() as other:
        other.models[HAIKU] = info()
        ask(other)

        assert (site.calls("models"), other.calls("models")) == (2, 1)


def test_a_run_that_sends_nothing_asks_nothing(site: Plain, ledger_home: Path) -> None:
    ask(site)
    for path in files(ledger_home):
        path.unlink()
    ask(site)
    plan(site)

    assert site.calls("models") == 1


def test_what_a_plan_asked_for_its_run_knows(server: Server) -> None:
    plan(server, progress=False).submit().wait()

    assert server.usage()["calls"]["GET /v1/models/{id}"] == 1


def test_what_was_kept_is_asked_again_before_it_stops_a_call(site: Plain) -> None:
    site.models[HAIKU] |= {"max_tokens": 1024}
    ask(site, ["a"])
    site.models[HAIKU] |= {"max_tokens": 2048}

    assert ask(site, ["b"], max_tokens=2048).counts == {"succeeded": 1}
    assert site.calls("models") == 2
    site.telling = 500
    with pytest.raises(OptionError, match="2,048 tokens an answer at most"):
        ask(site, ["c"], max_tokens=4096)


def test_only_the_user_may_read_it_and_of_a_reply_only_what_counts_is_kept(site: Plain, ledger_home: Path) -> None:
    site.models[HAIKU] |= {"x-api-key": KEY, "capabilities": {"batch": YES | {"seen": KEY}, "seen": KEY}}
    ask(site)
    (kept,) = files(ledger_home)

    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert KEY not in kept.read_text()
    assert json.loads(kept.read_text())["info"] == {
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "capabilities": {"batch": YES},
    }


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"\xff", b"[" * 100_000, b"null", b'{"who":1}', b"{}"),
        b'{"who":"w","model":"m","asked":1e999,"info":{}}',
        b'{"who":"somebody else","model":"claude-haiku-4-5","asked":1e10,"info":{"max_tokens":5}}',
    ],
)
def test_a_file_that_is_not_what_was_kept_is_as_good_as_none(site: Plain, ledger_home: Path, text: bytes) -> None:
    ask(site, ["a"])
    (kept,) = files(ledger_home)
    kept.write_bytes(text)
    run = ask(site, ["b"])

    assert (run.counts, site.calls("models")) == ({"succeeded": 1}, 2)


def test_where_nothing_can_be_kept_runs_go_on(site: Plain, ledger_home: Path) -> None:
    ask(site, ["a"])
    (kept,) = files(ledger_home)
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.touch(mode=0o600)

    assert ask(site, ["b"]).counts == {"succeeded": 1}


@pytest.mark.parametrize("now", [-1.0, DAY, 1e12, -1e12])
def test_what_is_a_day_old_or_of_a_time_to_come_is_not_believed(tmp_path: Path, now: float) -> None:
    told = Told("who", "m", 1e9, {"max_tokens": 5})
    keep(tmp_path, told)

    assert kept_of(tmp_path, "who", "m", 1e9 + now) is None
    assert kept_of(tmp_path, "who", "m", 1e9 + DAY - 1) == told.info


def test_what_nobody_reads_any_more_is_removed(tmp_path: Path) -> None:
    keep(tmp_path, Told("who", "old", 1e9, {}))
    newest = max(path.stat().st_mtime for path in files(tmp_path))
    keep(tmp_path, Told("who", "new", newest + DAY + 1, {}))

    assert [json.loads(path.read_text())["model"] for path in files(tmp_path)] == ["new"]


def test_many_who_keep_and_read_at_once_see_whole_files(tmp_path: Path) -> None:
    many = {f"name {at}": "x" * 50 for at in range(2000)}
    seen: list[Any] = []

    def write(most: int) -> None:
        for _ in range(20):
            keep(tmp_path, Told("who", "m", 1e9, {"max_tokens": most, "more": many}))
            seen.append(kept_of(tmp_path, "who", "m", 1e9))

    threads = [threading.Thread(target=write, args=(most,)) for most in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {told["max_tokens"] for told in seen} <= {1, 2, 3}
    assert len(files(tmp_path)) == 1


def test_processes_at_one_time_do_not_disturb_each_other(server: Server, ledger_home: Path) -> None:
    with Cells() as cells:
        told = cells.run(*[{"home": str(ledger_home), "url": server.url, "texts": [text, "d"]} for text in FEW])
        (later,) = cells.run({"home": str(ledger_home), "url": server.url, "texts": ["e"]})

    assert [one["status"] for one in [*told, later]] == [0] * 4
    assert set(server.usage()["billed_by_digest"].values()) == {1}
    assert 1 <= server.usage()["calls"]["GET /v1/models/{id}"] <= 3
    assert len(files(ledger_home)) == 1


# ------------------------------------------------------------------ silence stops nobody


GARBAGE = [
    *(b"", b"<html>Sign in</html>", b"null", b"[]", b"\xff", b"[" * 100_000, b"{}"),
    *(
        json.dumps(info() | more).encode()
        for more in (
            {"type": "list"},
            {"max_tokens": "many"},
            {"max_tokens": -1, "max_input_tokens": 0},
            {"capabilities": {"batch": {}, "structured_outputs": None, "thinking": {"types": {"enabled": "no"}}}},
            {"capabilities": {"batch": "no", "thinking": []}},
        )
    ),
]


@pytest.mark.parametrize("telling", [404, 400, 401, 403, 405, 429, 500, 501, 529, "reset", *GARBAGE])
def test_a_server_that_does_not_tell_stops_nobody_and_is_asked_once(site: Plain, telling: Any) -> None:
    site.models.clear()
    site.telling = telling
    run = ask(site, schema=None, params={"thinking": {"type": "enabled", "budget_tokens": 100}})

    assert run.counts == {"succeeded": 3}
    assert (site.calls("models"), site.calls("create")) == (1, 1)


def test_what_was_not_told_is_not_asked_for_again_in_one_run(site: Plain) -> None:
    site.telling = 500
    site.lose(400, accepted=False)
    with pytest.raises(ApiError):
        ask(site)
    run = dfbatch.last_run().resume().wait()

    assert run.counts == {"succeeded": 3}
    assert (site.calls("create"), site.calls("models")) == (2, 1)


def test_a_slow_server_is_waited_for_a_moment(monkeypatch: pytest.MonkeyPatch, site: Plain) -> None:
    monkeypatch.setattr("dfbatch.run.limits.PATIENCE", 0.2)
    site.gates["models"].close()
    try:
        run = ask(site)
    finally:
        site.gates["models"].open.set()

    assert run.counts == {"succeeded": 3}
    assert site.calls("models") == 1


def test_a_key_that_is_refused_is_told_by_what_comes_first(server: Server) -> None:
    server.house.faults.arm(["401@*"])
    with pytest.raises(PermissionError):
        ask(server)

    assert server.usage()["calls"] == {"GET /v1/messages/batches": 1}


def test_our_own_list_alone_stops_nobody(site: Plain) -> None:
    """The table may be outdated: the server decides."""
    site.models.clear()

    assert ask(site, max_tokens=100_000, params={"thinking": {"type": "adaptive"}}).counts == {"succeeded": 3}


class OnThisMachine:
    """A backend that must not be asked."""

    kind = "local"

    async def describe(self, model: str) -> dict[str, Any]:
        raise AssertionError(model)


def test_a_model_on_this_machine_is_not_asked(tmp_path: Path, clock: MovingClock) -> None:
    limits = Limits(tmp_path, OnThisMachine(), clock)  # type: ignore[arg-type]
    asyncio.run(limits.check([Asked("m", 1 << 40)]))

    assert files(tmp_path) == []


# ------------------------------------------------------------------ plans


def test_a_plan_of_a_call_against_it_is_refused(server: Server, site: Plain) -> None:
    with pytest.raises(OptionError, match="max_tokens=100000 is more than claude-haiku-4-5 can write"):
        plan(server, max_tokens=100_000)
    site.models[HAIKU] |= {"capabilities": {"batch": NO}}
    with pytest.raises(OptionError, match="cannot be asked in a batch"):
        plan(site)

    assert server.usage()["calls"] == {"GET /v1/models/{id}": 1}
    assert dfbatch.runs() == []


@pytest.mark.parametrize("offline", [False, True], ids=["a server that does not tell", "no network"])
def test_without_the_servers_word_a_plan_notes_what_our_list_says(server: Any, offline: bool) -> None:  # noqa: FBT001 - a parameter
    server.house.faults.arm(["reset@*" if offline else "500@model"])
    made = plan(server, max_tokens=100_000)

    assert made.notes[0] == (
        "max_tokens=100000 is more than claude-haiku-4-5 can write: 64,000 tokens an answer at most,"
        " says platform.claude.com, models and pricing, August 2026"
    )


def test_a_plan_without_a_key_has_the_note_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    frame: Any = pl.DataFrame({"text": FEW})
    made = frame.claude.plan("{text}", max_tokens=100_000)

    assert made.notes[0].startswith("max_tokens=100000 is more than claude-haiku-4-5 can write: ")


@pytest.mark.parametrize("told", [{}, {"max_tokens": 100_000}], ids=["as listed", "more than listed"])
def test_a_plan_that_fits_has_no_note(site: Plain, told: dict[str, Any]) -> None:
    site.models[HAIKU] |= told
    made = plan(site, max_tokens=told.get("max_tokens", 64_000))

    assert [note for note in made.notes if "max_tokens=" in note] == []


def test_beyond_the_beta_a_plan_notes_what_no_server_tells(server: Server) -> None:
    made = plan(server, model="claude-sonnet-4-6", max_tokens=300_001, betas=LONG, budget=100.0)

    assert made.notes[0].startswith("max_tokens=300001 is more than claude-sonnet-4-6 can write: 300,000 tokens")
