from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request

from support.brokers.jvm import free_port
from support.fleets.fleets import PATIENCE, embedded
from support.programs import needs
from support.waiting import wait_until


@contextlib.contextmanager
def scraping(folder, target):
    """A Prometheus that scrapes the target every second; gives a function that queries it."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "fleet", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # YAML is a superset of JSON
    port = free_port()
    flags = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
        "log.level": "error",
    }
    command = ["prometheus", *(f"--{name}={value}" for name, value in flags.items())]

    def query(text):
        """Each series' labels and value."""
        question = urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/v1/query?{question}", timeout=5
        ) as answer:
            result = json.load(answer)["data"]["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    with subprocess.Popen(command) as process:
        try:
            yield query
        finally:
            process.kill()


@needs("prometheus")
def test_prometheus_finds_each_worker_up(tmp_path):
    with embedded({"orders": ("steady", {"workers": 2})}, http="127.0.0.1:0") as supervisor:
        target = "{}:{}".format(*supervisor.http_address)
        with scraping(tmp_path, target) as query:

            def value(text):
                return [found for _, found in query(text)]

            wait_until(
                lambda: value("sum(flowodm_worker_up)") == [2.0],
                PATIENCE,
                "both workers are up in Prometheus",
                despite=OSError,
            )
            assert value('up{job="fleet"}') == [1.0]
            wait_until(
                lambda: len(query("flowodm_worker_cpu_seconds_total")) == 2,
                PATIENCE,
                "their CPU time is there",
            )
            ((labels, _),) = query("flowodm_config_info")
            assert labels["hash"] == supervisor.status()["config_hash"]
            assert wait_until(
                lambda: value("sum(standin_beats_total)"), PATIENCE, "what they count is there"
            )
