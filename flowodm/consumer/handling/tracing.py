"""Makes the spans of a loop: one for each attempt, until its outcome is known.

A traced loop has another recipe; other loops pay nothing for tracing. The call of the handler
starts a span, and ends it if the handler succeeds. If the handler fails, `recover` ends the span,
so that it has the outcome, and so that the dead letter and the error handler are inside it.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

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
    from collections.abc import Awaitable, Callable, Sequence

    from confluent_kafka import Message

    from flowodm.consumer.dispatch import Dispatch
    from flowodm.consumer.engine.retry import Verdict
    from flowodm.consumer.engine.run import Run
    from flowodm.consumer.handling.attempt import Batch, FailedAttempt
    from flowodm.consumer.handling.recipe import Call, Recipe, RecoveryCalls
    from flowodm.events import Stage
    from flowodm.tracing import Tracing


_UNSETTLED: Final = "unsettled"
"""The outcome of an attempt that the loop's end has cut off."""


def traced(recipe: Recipe, tracing: Tracing, group: str, *, awaits: bool) -> Recipe:
    """Return the recipe of a loop that is traced.

    Args:
        recipe: The recipe without tracing.
        tracing: The options of tracing.
        group: The consumer group.
        awaits: Whether the loop awaits what handlers return.
    """
    spans = _LoopSpans(tracing, group, awaits=awaits)
    start = spans.start_batch if recipe.batches else spans.start
    tombstone = recipe.tombstone
    return replace(
        recipe,
        call=spans.around(recipe.call, start),
        tombstone=None if tombstone is None else spans.around(tombstone, spans.start),
        recover=spans.recover,
    )


class _AttemptSpan:
    """The span of an attempt, until its outcome is known.

    Args:
        span: OpenTelemetry's span, which was started.
        parent: The context in which it was started.
        errors: Logs errors of OpenTelemetry.

    Attributes:
        context: The context with the span as the current one.
    """

    __slots__ = ("_error", "_errors", "_span", "context")

    def __init__(self, span: Span, parent: Context, errors: names.ErrorLog) -> None:
        self._span = span
        self._errors = errors
        self._error: BaseException | None = None
        self.context = trace.set_span_in_context(span, parent)

    def fail(self, error: BaseException, stage: Stage | None = None) -> None:
        """Record an error of the attempt, or of its recovery."""
        if self._error is error:
            return  # each record of a batch has the same one
        self._error = error
        try:
            span = self._span
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, summary(error))
            span.set_attribute(names.ERROR_TYPE, class_name(error))
            if stage is not None:
                span.set_attribute(names.STAGE, stage.value)
        except Exception as span_error:  # noqa: BLE001 - OpenTelemetry's, not the record's
            self._errors.log(span_error)

    def end(self, outcome: str) -> None:
        """End the span."""
        try:
            self._span.set_attribute(names.OUTCOME, outcome)
            self._span.end()
        except Exception as span_error:  # noqa: BLE001 - as above
            self._errors.log(span_error)

    def end_unsettled(self, error: BaseException) -> None:
        """End the span because the loop ends, with the record unsettled."""
        self.fail(error)
        self.end(_UNSETTLED)


class _LoopSpans:
    """The spans of one loop.

    Args:
        tracing: The options of tracing.
        group: The consumer group.
        awaits: Whether the loop awaits what handlers return.
    """

    def __init__(self, tracing: Tracing, group: str, *, awaits: bool) -> None:
        self._tracing = tracing
        self._tracer = tracing.tracer()
        self._group = group
        self._awaits = awaits
        self._errors = names.ErrorLog()
        # The failed attempts whose recovery comes next, by the id of their run.
        self._failed: dict[int, _AttemptSpan] = {}

    # ---- the start of a span ---------------------------------------------------------------

    def start(self, run: Run, record: Message) -> _AttemptSpan | None:
        """Start the span of one record; return None if OpenTelemetry fails."""
        try:
            parent = names.context_of(headers_of(record), Context())
            attributes = self._attributes(run)
            offset = record.offset()
            attributes[names.OFFSET] = -1 if offset is None else offset
            attributes |= self._tracing.key_of(record.key())
            if record.value() is None:
                attributes[names.TOMBSTONE] = True
            return self._start(run, parent, attributes)
        except Exception as error:  # noqa: BLE001 - OpenTelemetry's, not the record's
            self._errors.log(error)
            return None

    def start_batch(self, run: Run, batch: Batch) -> _AttemptSpan | None:
        """Start the span of a batch, with a link to the span that has sent each of its records."""
        try:
            records: Any = run.records
            links = []
            for index in batch.places:
                sender = names.context_of(headers_of(records[index]), Context())
                span_context = trace.get_current_span(sender).get_span_context()
                if span_context.is_valid:
                    links.append(Link(span_context))
            attributes = {**self._attributes(run), names.COUNT: len(batch.places)}
            return self._start(run, Context(), attributes, links=links)
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

    def _start(
        self, run: Run, parent: Context, attributes: dict[str, Any], *, links: Sequence[Link] = ()
    ) -> _AttemptSpan:
        span = self._tracer.start_span(
            f"process {run.partition.tp[0]}",
            parent,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
        )
        return _AttemptSpan(span, parent, self._errors)

    # ---- the call of the handler -----------------------------------------------------------

    def around(self, call: Call, start: Callable[[Run, Any], _AttemptSpan | None]) -> Call:
        """Return a call with a span around it, which is the handler's current span.

        Args:
            call: The call.
            start: Starts the span of a record or of a batch.
        """

        def traced_call(context: contextvars.Context, message: Any, source: Any, run: Run) -> Any:
            attempt = start(run, source)
            if attempt is None:
                return call(context, message, source, run)
            context.run(contexts.attach, attempt.context)
            try:
                result = call(context, message, source, run)
            except BaseException as error:
                self._on_error(run, attempt, error)
                raise
            if result is not None:
                if self._awaits and inspect.isawaitable(result):
                    return self._awaited(run, attempt, result)
                if isinstance(result, UNFINISHED):  # the loop refuses it
                    self._failed[id(run)] = attempt
                    return result
            attempt.end(Outcome.PROCESSED.value)
            return result

        return traced_call

    async def _awaited(self, run: Run, attempt: _AttemptSpan, work: Awaitable[Any]) -> None:
        try:
            await work
        except BaseException as error:
            self._on_error(run, attempt, error)
            raise
        attempt.end(Outcome.PROCESSED.value)

    def _on_error(self, run: Run, attempt: _AttemptSpan, error: BaseException) -> None:
        """Keep the span for the recovery, or end it if the loop ends."""
        if isinstance(error, Exception) and not isinstance(error, MemoryError):
            self._failed[id(run)] = attempt
        elif self._awaits and isinstance(error, asyncio.CancelledError):
            # After its attempt_timeout, or if the handler cancels itself, the attempt has failed,
            # and the recovery comes before anything else on the event loop. At the loop's end no
            # recovery comes.
            self._failed[id(run)] = attempt
            event_loop = asyncio.get_running_loop()
            event_loop.call_soon(self._end_unless_recovered, run, attempt, error)
        else:
            attempt.end_unsettled(error)

    def _end_unless_recovered(self, run: Run, attempt: _AttemptSpan, error: BaseException) -> None:
        if self._failed.get(id(run)) is attempt:
            del self._failed[id(run)]
            attempt.end_unsettled(error)

    # ---- the recovery ----------------------------------------------------------------------

    async def recover(
        self,
        recipe: Recipe,
        dispatch: Dispatch,
        calls: RecoveryCalls,
        *,
        run: Run,
        failure: FailedAttempt,
    ) -> bool:
        """Do the same as `recovery.recover`, inside the span of the attempt."""
        index = run.done
        record: Any = run.records[index]
        attempt = self._failed.pop(id(run), None) or self.start(run, record)
        if attempt is None:
            return await recover(recipe, dispatch, calls, run=run, failure=failure)
        watched: Any = _WatchedDispatch(attempt, dispatch)
        outcome: str | None = _UNSETTLED
        try:
            inside = _SpanCalls(calls, attempt.context)
            goes_on = await recover(recipe, watched, inside, run=run, failure=failure)
            outcome = watched.outcome(run, index, goes_on=goes_on)
        finally:
            if outcome is not None:
                attempt.end(outcome)
        return goes_on


class _WatchedDispatch:
    """A dispatch that notices what is decided about one attempt."""

    def __init__(self, attempt: _AttemptSpan, dispatch: Dispatch) -> None:
        self._attempt = attempt
        self._dispatch = dispatch
        self.tell = dispatch.tell
        self.gave_up = dispatch.gave_up
        self._verdict: Verdict | None = None
        self._was_left = False

    def failed(self, run: Run, stage: Stage, error: BaseException, **options: bool) -> Verdict:
        """Pass a failure on, inside the span: the log line has its ids then."""
        self._attempt.fail(error, stage)
        token = contexts.attach(self._attempt.context)
        try:
            self._verdict = self._dispatch.failed(run, stage, error, **options)
        finally:
            contexts.detach(token)
        return self._verdict

    def left(self, run: Run) -> None:
        """Pass on that a run was left."""
        self._was_left = True
        self._dispatch.left(run)

    def outcome(self, run: Run, index: int, *, goes_on: bool) -> str | None:
        """Return the outcome of the attempt; None if it was none: only its schema was missing."""
        if goes_on and self._verdict is None:
            return None
        if goes_on:
            return run.outcomes[index].value
        if isinstance(self._verdict, Retry):
            return "retry"  # another handler may have the run by now
        return _UNSETTLED if self._was_left else "stopped"


class _SpanCalls:
    """Makes the calls of a recovery inside the span of the attempt that failed."""

    def __init__(self, calls: RecoveryCalls, context: Context) -> None:
        self._calls = calls
        self._context = context

    async def run_blocking(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function that may block."""

        def call() -> None:
            token = contexts.attach(self._context)
            try:
                function(*args)
            finally:
                contexts.detach(token)

        await self._calls.run_blocking(call)

    async def run_user_code(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function of the user, and await what it returns."""

        def call() -> object:
            contexts.attach(self._context)  # the contextvars.Context of the call is its own
            return function(*args)

        await self._calls.run_user_code(call)
