"""The spans of a loop: one around each attempt, until it is known what follows from it.

A loop that is traced has another recipe, and that is all it costs the others: the call of the
handler begins a span, and ends it where the handler succeeds. Where it fails, `recover` ends it,
so that it tells the outcome, and what is done with the record is inside it: its dead letter, the
error handler.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode

from flowodm import tracing as names
from flowodm.consumer.dead_letters.headers import class_name
from flowodm.consumer.engine.retry import Retry
from flowodm.consumer.handling.calls import UNFINISHED
from flowodm.consumer.handling.context import headers_of
from flowodm.consumer.handling.recovery import recover
from flowodm.events import Outcome
from flowodm.exceptions import summary

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable

    from confluent_kafka import Message

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.retry import Verdict
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import Batch, FailedAttempt
    from flowodm.consumer.handling.recipe import Call, Recipe, RecoveryCalls
    from flowodm.events import Stage
    from flowodm.tracing import Tracing


def traced(recipe: Recipe, tracing: Tracing, group: str, *, awaits: bool) -> Recipe:
    """The recipe of a loop that is traced.

    Args:
        recipe: The one without.
        tracing: What was switched on.
        group: The consumer group.
        awaits: Whether the loop awaits what handlers return.
    """
    spans = _Spans(tracing, group, awaits=awaits)
    begin = spans.begin_batch if recipe.batches else spans.begin
    tombstone = recipe.tombstone
    return replace(
        recipe,
        call=spans.around(recipe.call, begin),
        tombstone=None if tombstone is None else spans.around(tombstone, spans.begin),
        recover=spans.recover,
    )


@dataclass(slots=True)
class _Attempt:
    """A span that has not ended, and the context with it as the current one."""

    span: Span
    context: Context
    error: BaseException | None = None


class _Spans:
    def __init__(self, tracing: Tracing, group: str, *, awaits: bool) -> None:
        self._tracing = tracing
        self._tracer = tracing.tracer()
        self._group = group
        self._awaits = awaits
        self._errors = names.ErrorLog()
        #: Attempts that have failed and wait for `recover`, which is called next, by their run.
        self._failed: dict[int, _Attempt] = {}

    # ---- beginning -----------------------------------------------------------------------

    def begin(self, run: Run, record: Message) -> _Attempt | None:
        """The span of one record; None if there is none to be had."""
        try:
            parent = names.context_of(headers_of(record), Context())
            attributes = self._attributes(run)
            offset = record.offset()
            attributes[names.OFFSET] = -1 if offset is None else offset
            attributes |= self._tracing.key_of(record.key())
            if record.value() is None:
                attributes[names.TOMBSTONE] = True
            return self._attempt(run, parent, attributes)
        except Exception as error:  # noqa: BLE001 - OpenTelemetry's, not the record's
            self._errors.log(error)
            return None

    def begin_batch(self, run: Run, batch: Batch) -> _Attempt | None:
        """The span of a batch, with a link to what has sent each of its records."""
        try:
            records: Any = run.records
            senders = (
                trace.get_current_span(names.context_of(headers_of(records[place]), Context()))
                for place in batch.places
            )
            links = [Link(sender.get_span_context()) for sender in senders]
            attributes = {**self._attributes(run), names.COUNT: len(batch.places)}
            return self._attempt(run, Context(), attributes, links)
        except Exception as error:  # noqa: BLE001 - as above
            self._errors.log(error)
            return None

    def _attributes(self, run: Run) -> dict[str, Any]:
        topic, partition = run.partition.tp
        return {
            names.SYSTEM: "kafka",
            names.OPERATION: "process",
            names.OPERATION_TYPE: "process",
            names.DESTINATION: topic,
            names.PARTITION: str(partition),
            names.GROUP: self._group,
            names.ATTEMPT: run.attempt,
        }

    def _attempt(
        self, run: Run, parent: Context, attributes: dict[str, Any], links: list[Link] | None = None
    ) -> _Attempt:
        span = self._tracer.start_span(
            f"process {run.partition.tp[0]}",
            parent,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[link for link in links or () if link.context.is_valid],
        )
        return _Attempt(span, trace.set_span_in_context(span, parent))

    # ---- the attempt ---------------------------------------------------------------------

    def around(self, call: Call, begin: Any) -> Call:
        """The call with a span around it, which is the handler's current one."""

        def traced_call(context: contextvars.Context, message: Any, what: Any, run: Run) -> Any:
            attempt = begin(run, what)
            if attempt is None:
                return call(context, message, what, run)
            context.run(contexts.attach, attempt.context)
            try:
                result = call(context, message, what, run)
            except BaseException as error:
                self._raised(run, attempt, error)
                raise
            if result is not None:
                if self._awaits and inspect.isawaitable(result):
                    return self._awaited(run, attempt, result)
                if isinstance(result, UNFINISHED):  # which is refused
                    self._failed[id(run)] = attempt
                    return result
            self._end(attempt, Outcome.PROCESSED.value)
            return result

        return traced_call

    async def _awaited(self, run: Run, attempt: _Attempt, work: Awaitable[Any]) -> None:
        try:
            await work
        except BaseException as error:
            self._raised(run, attempt, error)
            raise
        self._end(attempt, Outcome.PROCESSED.value)

    def _raised(self, run: Run, attempt: _Attempt, error: BaseException) -> None:
        if isinstance(error, Exception) and not isinstance(error, MemoryError):
            self._failed[id(run)] = attempt
        elif self._awaits and isinstance(error, asyncio.CancelledError):
            # Its attempt_timeout, or its own doing, is a failure, and `recover` is next: before
            # anything else on the event loop. The loop's end is not.
            self._failed[id(run)] = attempt
            asyncio.get_running_loop().call_soon(self._cancelled, run, attempt, error)
        else:
            self._unsettled(attempt, error)

    def _cancelled(self, run: Run, attempt: _Attempt, error: BaseException) -> None:
        if self._failed.get(id(run)) is attempt:
            del self._failed[id(run)]
            self._unsettled(attempt, error)

    def _unsettled(self, attempt: _Attempt, error: BaseException) -> None:
        self._fails(attempt, error)
        self._end(attempt, "unsettled")

    # ---- what follows --------------------------------------------------------------------

    async def recover(
        self,
        recipe: Recipe,
        dispatch: Dispatch,
        calls: RecoveryCalls,
        *,
        run: Run,
        failure: FailedAttempt,
    ) -> bool:
        """Do what `recovery.recover` does, inside the span of the attempt."""
        at = run.done
        record: Any = run.records[at]
        attempt = self._failed.pop(id(run), None) or self.begin(run, record)
        if attempt is None:
            return await recover(recipe, dispatch, calls, run=run, failure=failure)
        watched: Any = _Watched(self, attempt, dispatch)
        outcome = "unsettled"
        try:
            inside = _SpanCalls(calls, attempt.context)
            goes_on = await recover(recipe, watched, inside, run=run, failure=failure)
            if goes_on and watched.verdict is None:
                outcome = ""  # the schema is there now: this was no attempt
            elif goes_on:
                outcome = run.outcomes[at].value
            elif isinstance(watched.verdict, Retry):
                outcome = "retry"  # somebody else may have the run by now
            elif not watched.was_left:
                outcome = "stopped"
            return goes_on
        finally:
            if outcome:
                self._end(attempt, outcome)

    def told(self, attempt: _Attempt, stage: Stage, error: BaseException) -> None:
        """The attempt has failed there, or what followed from it has."""
        self._fails(attempt, error, stage)

    # ---- ending --------------------------------------------------------------------------

    def _fails(self, attempt: _Attempt, error: BaseException, stage: Stage | None = None) -> None:
        if attempt.error is error:
            return  # as for each record of a batch
        attempt.error = error
        try:
            span = attempt.span
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, summary(error))
            span.set_attribute(names.ERROR_TYPE, class_name(error))
            if stage is not None:
                span.set_attribute(names.STAGE, stage.value)
        except Exception as trouble:  # noqa: BLE001 - OpenTelemetry's
            self._errors.log(trouble)

    def _end(self, attempt: _Attempt, outcome: str) -> None:
        try:
            attempt.span.set_attribute(names.OUTCOME, outcome)
            attempt.span.end()
        except Exception as trouble:  # noqa: BLE001 - OpenTelemetry's
            self._errors.log(trouble)


class _Watched:
    """A dispatch of which is seen what it decides about one attempt."""

    def __init__(self, spans: _Spans, attempt: _Attempt, dispatch: Dispatch) -> None:
        self._spans = spans
        self._attempt = attempt
        self._dispatch = dispatch
        self.tell = dispatch.tell
        self.gave_up = dispatch.gave_up
        self.verdict: Verdict | None = None
        self.was_left = False

    def failed(self, run: Run, stage: Stage, error: BaseException, **more: bool) -> Verdict:
        self._spans.told(self._attempt, stage, error)
        token = contexts.attach(self._attempt.context)  # for the log line
        try:
            self.verdict = self._dispatch.failed(run, stage, error, **more)
        finally:
            contexts.detach(token)
        return self.verdict

    def left(self, run: Run) -> None:
        self.was_left = True
        self._dispatch.left(run)


class _SpanCalls:
    """Makes the calls of a recovery inside the span of the attempt that failed."""

    def __init__(self, calls: RecoveryCalls, context: Context) -> None:
        self._calls = calls
        self._context = context

    async def run_blocking(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of ours; the thread does other work after it."""

        def call() -> None:
            token = contexts.attach(self._context)
            try:
                function(*args)
            finally:
                contexts.detach(token)

        await self._calls.run_blocking(call)

    async def run_user_code(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of the user; it has a contextvars.Context to itself."""

        def call() -> object:
            contexts.attach(self._context)  # and not detached: what it returns is awaited there
            return function(*args)

        await self._calls.run_user_code(call)
