"""What the manual pages say beyond the code."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Told(NamedTuple):
    """One line for NAME, and the sections that follow what is generated.

    The parts of a section are words, lines that stay as they are (they begin with a space), or
    pairs of what is explained and its explanation.
    """

    what: str
    sections: tuple[tuple[str, tuple[Any, ...]], ...]


def toml(value: Any) -> str:
    """A value as the file has it."""
    return json.dumps(value, ensure_ascii=False)


DATE = "2026-11-27"
"""Of the latest change to what the pages say; a manual page has one in its foot."""

_KAFKA_VARIABLES = {
    "KAFKA_BOOTSTRAP_SERVERS": "Addresses of brokers, host:port, with commas between them.",
    "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD": "How to log in, and as whom.",
    "SCHEMA_REGISTRY_URL": "The schema registry's address. Without one, records are bare Avro.",
    "SCHEMA_REGISTRY_API_KEY, SCHEMA_REGISTRY_API_SECRET": "Its user and password.",
    "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "The same as user:password.",
}
_NO_COLOR = {"NO_COLOR": "Set to anything, it switches colours off; they are only for terminals."}


def _completion(command: str) -> tuple[str, tuple[str, ...]]:
    return (
        "COMPLETION",
        (
            "Subcommands and options are completed in bash, zsh, fish and PowerShell once this has "
            "been run in such a shell, for its user:",
            f" {command} --install-completion",
            "For all users of a machine, as a package does it:",
            f" _{command.upper().replace('-', '_')}_COMPLETE=source_bash {command} \\\n"
            f"   > /usr/share/bash-completion/completions/{command}",
        ),
    )


_FLOWODM = Told(
    "typed Kafka records, their schemas and dead letters on the command line",
    (
        (
            "EXIT STATUS",
            (
                {
                    "0": "Success; if the command answers a question, the answer is yes.",
                    "1": "The answer is no: a model does not fit its schema, or some lines or "
                    "records could not be read.",
                    "2": "The command line is wrong.",
                    "5": "Kafka or the registry refused the request.",
                    "69": "Kafka or the registry does not answer.",
                    "70": "A bug in this command; it prints a traceback.",
                    "71": "The development broker does not start.",
                    "74": "The output could not be written.",
                    "78": "A model, a file or an address is missing or wrong.",
                    "130": "Interrupted by Ctrl-C.",
                },
            ),
        ),
        ("ENVIRONMENT", (_KAFKA_VARIABLES | _NO_COLOR,)),
        _completion("flowodm"),
        (
            "EXAMPLES",
            (
                "Print ten records of the last hour as JSON lines:",
                " flowodm consume shop.orders:Order --from 1h --max 10",
                "Check whether a model is compatible with its subject:",
                " flowodm check-compatibility --model shop.orders:Order --level BACKWARD",
                "Open a shell with a Kafka broker that ends with it:",
                " flowodm dev-broker bash",
            ),
        ),
        ("SEE ALSO", ("flowodm-supervisor(1), flowodm-supervisor.toml(5)",)),
    ),
)

_SUPERVISOR = Told(
    "run fleets of Kafka consumer loops from a TOML file",
    (
        (
            "SIGNALS",
            (
                {
                    "SIGTERM, SIGINT": "Drain: workers finish their running handlers, within "
                    "drain_timeout, and commit. The second signal kills them. A SIGTERM within "
                    "half a second of the first counts as the same.",
                    "SIGQUIT": "Kill the workers at once.",
                    "SIGHUP": "Reload the file, unless the signal was ignored at the start. If a "
                    "closing terminal has sent it, drain.",
                },
                "As process 1 of a container the command is its own init: it forwards signals, and "
                "reaps processes that handlers have left behind.",
            ),
        ),
        (
            "EXIT STATUS",
            (
                {
                    "0": "Every worker finished its handlers and ended by itself.",
                    "2": "The command line is wrong.",
                    "3": "At the end a worker was killed, crashed, or left handlers unfinished.",
                    "4": "A worker failed for good.",
                    "5": "The running supervisor refused the request, or gave it up.",
                    "69": "No supervisor answers at the control socket.",
                    "71": "The system refused something at the start, such as a port in use.",
                    "74": "The output could not be written.",
                    "78": "The configuration is not valid, and nothing was started or changed.",
                    "130": "Ctrl-C before anything was started.",
                },
                "status ends with 1 where not every worker is assigned.",
            ),
        ),
        (
            "ENVIRONMENT",
            (
                {
                    "FLOWODM_CONTROL_SOCKET": "The control socket, if neither --socket nor a file "
                    "names one.",
                    "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR": "Where the control socket is by default; "
                    "else in a folder of the user's in /tmp.",
                    "NOTIFY_SOCKET, WATCHDOG_USEC": "Set by systemd, see sd_notify(3): the service "
                    "counts as started when every worker is assigned.",
                }
                | _NO_COLOR,
                "Variables that the file names are those of the environment of run.",
            ),
        ),
        (
            "FILES",
            (
                {
                    "FILE": "The configuration, see flowodm-supervisor.toml(5).",
                    "INSTANCE_ID.sock": "The control socket, which only its user can open. The "
                    "lock file beside it keeps two supervisors of one instance_id apart.",
                },
            ),
        ),
        _completion("flowodm-supervisor"),
        (
            "EXAMPLES",
            (
                "New code, one worker after the other, and on when it is through:",
                " flowodm-supervisor restart /etc/flowodm/fleet.toml --wait && echo done",
                "What happens, as JSON lines:",
                " flowodm-supervisor states /etc/flowodm/fleet.toml --follow --json",
            ),
        ),
        ("SEE ALSO", ("flowodm-supervisor.toml(5), flowodm(1), systemd.service(5), sd_notify(3)",)),
    ),
)

COMMANDS = {"flowodm": _FLOWODM, "flowodm-supervisor": _SUPERVISOR}

FILE = Told(
    "the configuration of flowodm-supervisor",
    (
        (
            "DESCRIPTION",
            (
                "A TOML file with a table for each consumer. Keys that are unknown, contradict "
                "each other or have the wrong type are errors, all of which flowodm-supervisor "
                "check names at once, each with its place.",
                "In any string ${NAME} stands for a variable of the environment, and "
                "${NAME:-default} for one that need not be set. A key that ends in _file names a "
                "file, from the folder of this one, whose content is the value.",
                "[defaults] takes the keys of a consumer, for all of them. [consumers.NAME.kafka] "
                "lies over [kafka]. Lengths of time are written as 500ms, 30s or 1m30s, or as a "
                "number of seconds.",
            ),
        ),
        (
            "EXAMPLES",
            (
                """
    [kafka]
    bootstrap_servers = "${KAFKA_BOOTSTRAP_SERVERS:-localhost:9092}"

    [consumers.orders]
    model = "shop.orders:OrderEvent"
    handler = "shop.orders:process_order"
    workers = 4
    commit_strategy = "after_processing"
    dead_letter_topic = "orders-dead"
""",
            ),
        ),
        ("SEE ALSO", ("flowodm-supervisor(1)",)),
    ),
)
