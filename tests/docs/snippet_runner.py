"""Runs one snippet of the documentation as it is written, in a process of its own.

The argument is a JSON object:

- ``earlier``: the sources of the snippets before it; what they define is there.
- ``source``: the snippet. ``await`` may stand at its top level.
- ``stop``: the snippet that stops a loop; run in a thread when a line arrives on stdin.
- ``run``: which of the loops that the snippet makes is run afterwards; null where it runs its own.
- ``broken``: the order whose handling fails, each time; "" for none.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowodm import ConsumerLoop


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# What the text leaves to its reader.


async def do_async_processing(order) -> None:
    await asyncio.sleep(0)
    say(f"async processing of {order.order_id}")


async def handle_order(order) -> None:
    await asyncio.sleep(0)
    say(f"handling of {order.order_id}")


def batch_process(order) -> None:
    say(f"batch processing of {order.order_id}")


def quick_process(order) -> None:
    say(f"quick processing of {order.order_id}")


class Database:
    def close(self) -> None:
        say("the database is closed")


def connect_to_database() -> Database:
    say("the database is open")
    return Database()


LEFT_OPEN = (do_async_processing, handle_order, batch_process, quick_process, connect_to_database)


def defines(statement: ast.stmt) -> bool:
    """Whether an earlier snippet's statement is kept: all but the bare calls that run a loop."""
    if not isinstance(statement, ast.Expr):
        return True
    call = statement.value
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "connect"


def execute(tree: ast.Module, names: dict, filename: str) -> None:
    code = compile(tree, filename, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, names)
    if inspect.iscoroutine(waiting):
        asyncio.run(waiting)


def prepare(earlier: list[str], names: dict) -> None:
    for source in earlier:
        tree = ast.parse(source)
        tree.body = [statement for statement in tree.body if defines(statement)]
        execute(tree, names, "<earlier snippet>")


def loops_of(tree: ast.Module, names: dict) -> list[ConsumerLoop]:
    """Execute one statement after the other: a snippet gives all its loops the same name."""
    loops = []
    for statement in tree.body:
        before = names.get("loop")
        execute(ast.Module([statement], []), names, "<snippet>")
        if names.get("loop") is not before:
            loops.append(names["loop"])
    return loops


def failing(handler, broken: str):
    def handle(order) -> None:
        if order.order_id == broken:
            say(f"attempt at {order.order_id}")
            raise RuntimeError("out of stock")
        handler(order)

    return handle


def stop_when_told(source: str, names: dict) -> None:
    if os.read(0, 1):  # not sys.stdin, whose lock a waiting thread would hold at the end
        execute(ast.parse(source), names, "<stopping snippet>")


def main() -> None:
    task = json.loads(sys.argv[1])
    names = {"__name__": "__main__", **{name.__name__: name for name in LEFT_OPEN}}
    prepare(task["earlier"], names)
    if task["broken"]:
        names["process_order"] = failing(names["process_order"], task["broken"])
    threading.Thread(target=stop_when_told, args=(task["stop"], names), daemon=True).start()
    tree = ast.parse(task["source"])
    if task["run"] is None:
        execute(tree, names, "<snippet>")
    else:
        names["loop"] = loops_of(tree, names)[task["run"]]
        names["loop"].run()
    say("the snippet is done")


if __name__ == "__main__":
    main()
