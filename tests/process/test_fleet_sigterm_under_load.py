"""A clean drain in the middle of the load loses nothing and repeats nothing."""

from __future__ import annotations

import pytest

from support.fleets.real_fleets import RealFleet, produce_orders

ORDERS = 12_000


@pytest.mark.parametrize("strategy", ["after_processing", "before_processing"])
@pytest.mark.parametrize("handler", ["handle_slowly", "handle_async"])
def test_sigterm_under_load_loses_nothing_and_repeats_nothing(
    kafka, new_topic, tmp_path, strategy, handler
):
    topic = new_topic(partitions=8)
    produce_orders(kafka, topic, ORDERS)
    consumers = f"""
        [consumers.orders]
        model = "shop:Order"
        handler = "shop:{handler}"
        workers = 2
        group_id = "{topic}"
        commit_strategy = "{strategy}"
    """
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()

    with RealFleet(tmp_path / "first", kafka, topic, consumers) as first:
        first.until_handled(ORDERS // 10)
        assert first.stop() == 0, first.text()
    before = first.handled()
    assert len(before) < ORDERS, "the first fleet was not stopped under load"

    with RealFleet(tmp_path / "second", kafka, topic, consumers) as second:
        second.until_handled(ORDERS - len(before))
        assert second.stop() == 0, second.text()

    handled = before + second.handled()
    assert len(handled) == ORDERS
    assert set(handled.values()) == {1}
