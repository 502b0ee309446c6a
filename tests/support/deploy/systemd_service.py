"""The unit of deploy/systemd on a machine that has booted, with a fleet on the real Kafka."""

from __future__ import annotations

from support.brokers.jvm import free_port
from support.waiting import wait_until

PATIENCE = 60.0
UNIT = "flowodm-supervisor"
SHOP = """
from flowodm import FlowBaseModel


class Order(FlowBaseModel):
    class Settings:
        topic = "{topic}"
        consumer_group = "{topic}"

    order_id: int
    customer: str
    amount: float


def handle(order: Order) -> None:
    print("handled", order.order_id, flush=True)
"""
FLEET = """
[supervisor]
http = "127.0.0.1:{port}"
[kafka]
bootstrap_servers = "{kafka}"
sasl_password_file = "${{CREDENTIALS_DIRECTORY}}/kafka-password"
[consumers.orders]
model = "shop:Order"
handler = "shop:handle"
workers = {workers}
start_from = "earliest"
commit_strategy = "after_processing"
"""
# Shorter times than an operator's, and a secret.
DROP_IN = """
[Service]
WatchdogSec=3s
RestartSec=500ms
LoadCredential=kafka-password:/etc/flowodm/kafka-password
"""


class Service:
    """One unit on a host.

    Args:
        host: The machine.
        kafka: What it connects to.
        topic: What the fleet consumes, in a group of the same name.
        drop_in: What is added to the unit, behind what this module needs itself.
    """

    def __init__(self, host, kafka, topic, drop_in=""):
        self.host, self._kafka, self._topic = host, kafka, topic
        (host.root / "opt/flowodm/shop.py").write_text(SHOP.format(topic=topic))
        secret = host.root / "etc/flowodm/kafka-password"
        secret.write_text("hunter2")
        secret.chmod(0o600)
        for unit in (UNIT, f"{UNIT}@"):
            folder = host.root / f"etc/systemd/system/{unit}.service.d"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "own.conf").write_text(DROP_IN + drop_in)
        self.write()
        host.systemctl("daemon-reload")

    def write(self, more="", name="fleet", workers=2):
        file = self.host.root / f"etc/flowodm/{name}.toml"
        file.write_text(FLEET.format(port=free_port(), kafka=self._kafka, workers=workers) + more)

    def set_workers(self, number, more=""):
        file = self.host.root / "etc/flowodm/fleet.toml"
        lines = [line for line in file.read_text().splitlines() if not line.startswith("workers")]
        place = lines.index("[consumers.orders]") + 1
        lines.insert(place, f"workers = {number}{more}")
        file.write_text("\n".join(lines) + "\n")

    def starts(self, unit=UNIT):
        status, said = self.host.systemctl("start", unit)
        assert status == 0, said + self.host.journal(unit)

    @property
    def pid(self):
        return self.host.shows(UNIT, "MainPID")

    def says(self, text, unit=UNIT):
        wait_until(lambda: text in self.host.journal(unit), PATIENCE, f"the journal has {text}")
