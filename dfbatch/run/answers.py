"""A run's answers as users see them: laid onto a frame, one line a row or sample, as objects, one row in full.

How outcomes become columns is in `layout.py`, rows without an answer are in `failures.py`; waiting is `handle.py`'s.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch.columns import Column, cell
from dfbatch.errors import DfbatchError, OptionError
from dfbatch.frames import adapter as adapter_of
from dfbatch.frames.cells import Table
from dfbatch.kinds import Kind
from dfbatch.results import OUTCOMES, SUCCEEDED
from dfbatch.run import costs, failures, layout, shares, votes, written
from dfbatch.run.join import matched
from dfbatch.run.report import Row, answer_text, asked, content_text, keys
from dfbatch.run.rows import contents
from dfbatch.schemas import Invalid

if TYPE_CHECKING:
    from dfbatch.frames import Adapter
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.models import Models
    from dfbatch.progress import Cause, Share
    from dfbatch.prompts import Prompt
    from dfbatch.run.sheet import Sheet
    from dfbatch.schemas import Schema

    Array = np.ndarray[Any, np.dtype[Any]]

NOT_SENT: Final = "not sent"
NOT_KEPT: Final = "not kept once it was answered; shown where the frame is at hand"
MADE_AGAIN: Final = "made again from the frame"
CHANGED: Final = "not kept once it was answered, and this row of the frame was changed since"


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of a run's rows so far."""

    ledger: Ledger
    record: RunRecord
    sheet: Sheet
    rows: Array  # ROW
    models: Models  # with their prices

    @property
    def take(self) -> Array:
        """For each row, the request of its first sample; -1 where it asked nothing."""
        take: Array = self.rows["request"].astype(np.int64)
        return take

    @property
    def standing(self) -> Array:
        """For each row, a request with its outcome."""
        return votes.standing(self.sheet, self.record.spec.samples, self.take)

    def outcomes(self) -> Array:
        """The outcome of each row, as a code of OUTCOMES."""
        return self.sheet.outcomes(self.standing)

    def errors(self) -> Column:
        """Why each row without an answer has none."""
        column = self.sheet.added("error", self.standing)
        reasons = self.record.spec.reasons
        for row in np.flatnonzero(self.rows["why"]).tolist():
            column.values[row], column.valid[row] = reasons[self.rows["why"][row]], True
        return Column("error", column.kind, column.values, column.valid)

    def columns(self) -> list[Column]:
        """The columns for the frame as submitted; noted, so that the cell can be run again."""
        columns = layout.laid_out(self.sheet, self.record.spec, self.take, cost=self._cost(self.take))
        written.note(self.ledger, self.record, columns)
        return columns

    def joined(self, adapter: Adapter, df: Any, names: list[str], *, overwrite: bool) -> tuple[list[Column], list[str]]:
        """The columns for any frame, and which of its own make room."""
        if adapter.is_series(df):
            raise OptionError(
                "join() lays columns onto a frame, got a Series", hint="run.join(series.to_frame()), or run.result()"
            )
        count, spec = len(self.record.spec.columns), self.record.spec
        makes_room = written.replaced(
            adapter, df, names[:count], names[count:], self.ledger, overwrite=overwrite, hint=written.OVERWRITE
        )
        take = matched(self.ledger, self.record, self.rows, adapter, df)
        self.columns()  # what is laid is noted by the run's own rows
        return layout.laid_out(self.sheet, spec, take, cost=self._cost(take)), makes_room

    def _cost(self, take: Array) -> Column | None:
        """USD of each row, where it was asked for; missing where the price is not known."""
        if layout.COST not in self.record.spec.include:
            return None
        usd = costs.by_row(self.sheet, self.record, self.models, take)
        known = take >= 0 if usd is not None else np.zeros(len(take), bool)
        return Column(layout.COST, Kind("float"), np.zeros(len(take)) if usd is None else usd, known)

    def by_row(self) -> list[Column]:
        """One line a row: row, key, the columns, status, error."""
        count = self.record.rows
        return [
            Column("row", Kind("int"), np.arange(count), np.ones(count, bool)),
            *keys(self.ledger, self.record),
            *layout.laid_out(self.sheet, self.record.spec, self.take, extras=False),
            self.sheet.added("status", self.standing),
            self.errors(),
        ]

    def by_sample(self) -> list[Column]:
        """One line per row and sample."""
        of_rows = keys(self.ledger, self.record), self.errors()
        return layout.sample_by_sample(self.sheet, self.record.spec, self.take, *of_rows)

    def failed(self) -> list[Column]:
        """The rows without an answer."""
        return failures.table(self.ledger, self.record, self.sheet, self.standing, self.errors())

    def failure(self) -> tuple[list[str], str]:
        """How many rows have no answer and why, and what helps; nothing where all have one."""
        return failures.told(self.record, self.sheet, self.standing, self.errors(), self.models)

    def causes(self) -> list[Cause]:
        """Why rows have no answer, grouped."""
        return shares.causes(self.sheet, self.standing, self.errors())

    def shares(self) -> list[Share]:
        """How often each label was given."""
        return shares.shares(self.sheet, self.record, self.rows, self.standing)

    def objects(self, schema: Schema) -> list[Any]:
        """One instance of the schema a row, None where there is no answer."""
        election = votes.elect(self.sheet, self.record.spec.samples, self.take)
        by_column = zip(*(take.tolist() for take in election.takes), strict=True)
        return [
            self._object(schema, request, parts)
            if request >= 0 and self.sheet.found[request]["outcome"] == SUCCEEDED
            else None
            for request, parts in zip(election.take.tolist(), by_column, strict=True)
        ]

    def _object(self, schema: Schema, request: int, parts: tuple[int, ...]) -> Any:
        """An instance of what the samples of a row came to; of the one that stands for it where that is none."""
        text = answer_text(self.ledger, self.sheet, request)
        if set(parts) != {request}:
            names = [name for name, _ in self.sheet.schema.fields]
            held = {part: msgspec.json.decode(answer_text(self.ledger, self.sheet, part)) for part in set(parts)}
            made = {name: held[part][name] for name, part in zip(names, parts, strict=True) if name in held[part]}
            with suppress(Invalid):  # a check of the user's over several columns
                return schema.objects(msgspec.json.encode(made))
        return schema.objects(text)

    def row(self, row: int, frame: Any, prompt: Prompt | None) -> Row:
        """One row in full; `frame` and `prompt` are those of the call, where they are at hand."""
        if isinstance(row, bool) or not hasattr(row, "__index__"):
            raise OptionError(f"a row is named by its position, got {row!r}", hint="run.show(17)")
        if not 0 <= row < self.record.rows:
            raise IndexError(f"row {row}: run {self.record.id} has rows 0 to {self.record.rows - 1}")
        take = self.take
        take[[row]] = votes.elect(self.sheet, self.record.spec.samples, take[[row]]).take
        request = int(take[row])
        columns = layout.laid_out(self.sheet, self.record.spec, self.take[[row]], extras=False)
        text, about = self._asked(take, row, frame, prompt)
        return Row(
            row=row,
            status=OUTCOMES[self.sheet.outcomes(take[[row]])[0]],
            error=cell(self.errors(), row),
            asked=text,
            about=about,
            answered=answer_text(self.ledger, self.sheet, request) if request >= 0 else "",
            values={column.name: cell(column, 0) for column in columns},
            model=self._model(request),
        )

    def _model(self, request: int) -> str:
        origin = int(self.sheet.source[request]) if request >= 0 else -1
        model = (self.sheet.chunks[origin].model if origin >= 0 else "") or self.record.model
        return model + (f", answered by {self.record.answered_by}" if self.record.answered_by else "")

    def _asked(self, take: Array, row: int, frame: Any, prompt: Prompt | None) -> tuple[str | None, str]:
        """What a row asked, and whence that is known: spools keep what did not succeed."""
        if take[row] < 0:
            return None, NOT_SENT
        kept = asked(self.ledger, self.record, self.sheet, take, [row])[0]
        if kept is not None:
            return kept, ""
        return (None, NOT_KEPT) if frame is None or prompt is None else self._made_again(row, frame, prompt)

    def _made_again(self, row: int, frame: Any, prompt: Prompt) -> tuple[str | None, str]:
        table = adapter_of(frame).snapshot(frame, prompt.needs)
        block = table.block(row, row + 1) if row < table.height else {}
        if self._content(block) != self.rows["content"][row]:
            return None, CHANGED
        try:
            made = prompt.render(block, start=row, on_null="send", rows=1).contents[0]
        except DfbatchError as error:
            return None, f"not kept once it was answered; making it again failed: {error}"
        return content_text(made), MADE_AGAIN

    def _content(self, block: dict[str, list[Any]]) -> bytes:
        """The digest of what this one row of a frame holds; none where there is no row."""
        reads = self.record.spec.reads
        if not set(reads) <= block.keys():
            return b""
        alone = Table(1, {name: partial(_cells, block[name]) for name in reads})
        return bytes(contents(alone, reads)[0])


def _cells(cells: list[Any], start: int, stop: int) -> list[Any]:
    return cells[start:stop]
