"""What compose.yaml runs: a message, its handler, and a program that produces some for ever."""

import random
import time

from flowodm import FlowBaseModel, connect


class Order(FlowBaseModel):
    class Settings:
        topic = "orders"
        consumer_group = "shop"
        key_field = "customer"

    number: int
    customer: str
    amount: float


def charge(order: Order) -> None:
    if order.number % 100 == 0:
        raise ValueError(f"order {order.number} is one of those that nobody can charge")
    time.sleep(random.uniform(0.001, 0.02))  # the work


def produce(per_second: float = 20.0) -> None:
    """Orders at a steady pace; each returns when the broker has it."""
    connect()
    number = 0
    while True:
        number += 1
        Order(number=number, customer=f"customer-{number % 7}", amount=number / 4).produce()
        time.sleep(1 / per_second)


if __name__ == "__main__":
    produce()
