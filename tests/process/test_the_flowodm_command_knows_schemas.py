"""flowodm's commands about schemas: 0.3.1's five, and generate-model, on a real registry."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid

import pytest

from flowodm.cli.process import ExitStatus
from flowodm.testing import RegistryProxy
from support.brokers.jvm import free_port
from support.commands.flowodm_command import Shop

NUMBER = {"name": "number", "type": "long"}
CUSTOMER = {"name": "customer", "type": "string", "default": "nobody"}


def record(*fields: object) -> str:
    return json.dumps({"type": "record", "name": "Order", "fields": fields})


@pytest.fixture
def registered(command_host, tmp_path, registry):
    """A shop with a topic of its own, a registry, and three .avsc files."""
    topic = f"shop-{uuid.uuid4().hex[:8]}"
    shop = Shop(command_host, tmp_path, topic, SCHEMA_REGISTRY_URL=registry)
    shop.subject = f"{topic}-value"
    for name, schema in {
        "fits": record(NUMBER, CUSTOMER),
        "lacks": record(NUMBER),
        "clashes": record({"name": "number", "type": "string"}, CUSTOMER),
    }.items():
        (tmp_path / f"{name}.avsc").write_text(schema)
    return shop


def upload(shop, name, *options):
    return shop.runs("upload-schema", "--avro", f"{name}.avsc", "--subject", shop.subject, *options)


def test_a_schema_that_was_uploaded_is_listed_and_got_again(registered):
    done = upload(registered, "fits")
    assert done.status == ExitStatus.DONE, done
    number = int(done.stdout)
    assert upload(registered, "fits", "--json").told == {
        "subject": registered.subject,
        "id": number,
    }
    assert registered.subject in registered.runs("list-subjects").stdout.splitlines()
    assert registered.subject in registered.runs("list-subjects", "--json").told["subjects"]

    done = registered.runs("get-schema", "--subject", registered.subject)
    assert done.told == json.loads(record(NUMBER, CUSTOMER))
    assert done.stdout.startswith('{\n  "type"')
    done = registered.runs(
        "get-schema", "--subject", registered.subject, "--version", "1", "--output", "got.avsc"
    )
    assert (done.status, done.stdout) == (ExitStatus.DONE, "")
    assert json.loads((registered.folder / "got.avsc").read_text())["name"] == "Order"


def test_the_level_that_is_uploaded_with_is_that_of_the_subject(registered):
    upload(registered, "fits", "--compatibility", "BACKWARD")
    done = upload(registered, "clashes")
    assert done.status == ExitStatus.NO
    assert registered.subject in done.stderr
    assert upload(registered, "clashes", "--compatibility", "none").status == ExitStatus.DONE
    done = upload(registered, "lacks", "--compatibility", "FULL_TRANSITIVE")
    assert done.status == ExitStatus.NO


@pytest.mark.parametrize(
    ("name", "strict", "status"),
    [
        ("fits", True, ExitStatus.DONE),
        ("clashes", False, ExitStatus.DONE),
        ("clashes", True, ExitStatus.NO),
    ],
)
def test_models_are_validated_and_strict_makes_a_difference(registered, name, strict, status):
    """0.3.1: without --strict it is only told."""
    upload(registered, name)
    (registered.folder / f"{registered.topic}.avsc").write_text(
        (registered.folder / f"{name}.avsc").read_text()
    )
    done = registered.runs(
        "validate",
        "--models=shop",
        "--registry",
        "--schemas-dir=.",
        "--json",
        *(["--strict"] if strict else []),
    )
    assert done.status == status, done
    sources = [f"registry:{registered.subject}", f"{registered.topic}.avsc"]
    assert [model["source"] for model in done.told["models"]] == sources
    assert {model["model"] for model in done.told["models"]} == {"shop:Order"}
    assert {model["passed"] for model in done.told["models"]} == {name == "fits"}
    assert all(bool(model["errors"]) is (name != "fits") for model in done.told["models"])


def test_files_may_have_the_name_of_the_class_and_a_missing_one_is_no_pass(registered):
    command = ["validate", "--models", "shop", "--schemas-dir", ".", "--strict"]
    done = registered.runs(*command)
    assert done.status == ExitStatus.NO
    assert f"there is neither {registered.topic}.avsc nor order.avsc" in done.stdout
    (registered.folder / "order.avsc").write_text(record(NUMBER, CUSTOMER))
    done = registered.runs(*command)
    assert (done.status, done.stdout) == (ExitStatus.DONE, "shop:Order: valid (order.avsc)\n")
    (registered.folder / "order.avsc").write_text("{")
    assert registered.runs(*command).status == ExitStatus.NO


def test_models_that_are_written_as_json_are_left_out_and_that_is_said(registered):
    with (registered.folder / "shop.py").open("a") as module:
        module.write(
            "class Note(Order):\n    class Settings:\n        value_serializer = 'json'\n"
            "class Wrong(Order):\n    class Settings:\n        value_serializer = 'xml'\n"
        )
    upload(registered, "fits")
    for command in (["validate", "--registry"], ["check-compatibility"]):
        done = registered.runs(*command, "--models", "shop", "--json")
        assert "shop:Note is skipped: it is not written as Avro" in done.stderr
        fate = {model["model"]: model["passed"] for model in done.told["models"]}
        assert fate == {"shop:Order": True, "shop:Wrong": False}
        assert done.status == ExitStatus.CONFIGURATION

    (registered.folder / "notes.py").write_text("from shop import Note\n")
    done = registered.runs("validate", "--registry", "--models", "notes")
    assert (done.status, done.stdout) == (ExitStatus.CONFIGURATION, "")
    assert "no model of notes is written as Avro" in done.stderr


def test_a_subject_that_is_not_there_is_no_pass(registered):
    done = registered.runs("validate", "--models", "shop", "--registry", "--strict")
    assert done.status == ExitStatus.NO
    done = registered.runs("get-schema", "--subject", registered.subject)
    assert done.status == ExitStatus.REFUSED


def test_compatibility_goes_by_the_level_and_says_why(registered):
    upload(registered, "lacks")
    by_level = {
        level: registered.runs("check-compatibility", "--model=shop:Order", "--level", level)
        for level in ("BACKWARD", "FORWARD", "full", "NONE")
    }
    assert {done.status for done in by_level.values()} == {ExitStatus.DONE}

    upload(registered, "clashes", "--compatibility", "NONE")
    done = registered.runs("check-compatibility", "--models", "shop", "--json")
    assert done.status == ExitStatus.NO
    (model,) = done.told["models"]
    assert (done.told["passed"], model["passed"]) == (False, False)
    assert "number" in model["errors"][0]
    done = registered.runs("check-compatibility", "--models", "shop")
    assert f"shop:Order: not BACKWARD compatible (registry:{registered.subject})" in done.stdout
    assert "number" in done.stdout.splitlines()[1]
    assert registered.runs("check-compatibility", "--models=shop", "--level=NONE").status == 0


def test_one_model_is_compared_with_the_subject_that_is_given(registered):
    upload(registered, "clashes")
    command = ["check-compatibility", "--model", "shop.Order"]
    assert registered.runs(*command).status == ExitStatus.NO
    done = registered.runs(*command, "--subject", f"{registered.subject}-new")
    assert done.status == ExitStatus.DONE


def test_a_registry_that_refuses_is_a_failure_without_strict_too(registered, registry):
    with RegistryProxy(registry) as proxy:
        proxy.answer(401, {"error_code": 40101, "message": "who are you"})
        command = ["--models=shop", "--json", "--registry-url", proxy.url]
        for done in (
            registered.runs("validate", "--registry", *command),
            registered.runs("check-compatibility", *command),
        ):
            assert done.status == ExitStatus.REFUSED, done
            assert done.told["passed"] is False


def test_one_that_cannot_be_checked_is_no_pass_for_all(registered):
    registered.environment["SCHEMA_REGISTRY_URL"] = f"http://127.0.0.1:{free_port()}"
    done = registered.runs("validate", "--models=shop", "--registry", "--json")
    assert done.status == ExitStatus.UNREACHABLE
    assert done.told["passed"] is False
    done = registered.runs("check-compatibility", "--models=shop")
    assert done.stdout.startswith(f"shop:Order: not checked (registry:{registered.subject})\n")


@pytest.mark.parametrize("source", ["file", "registry"])
def test_a_generated_model_works(registered, source):
    upload(registered, "fits")
    given = ["--avro=fits.avsc"] if source == "file" else [f"--subject={registered.subject}"]
    command = ["generate-model", "--topic", "bills", "--class-name", "Bill", "--group", "payer"]
    done = registered.runs(*command, *given)
    assert done.status == ExitStatus.DONE, done
    assert registered.runs(*command, *given, "--json").told["source"].strip() == done.stdout.strip()
    assert registered.runs(*command, *given, "--output", "bills.py").stdout == ""
    code = (
        "from bills import Bill as B; s = B.Settings; print(s.topic, s.consumer_group, B(number=1))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=registered.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shown.stdout == "bills payer number=1 customer='nobody'\n"


def test_a_file_that_is_no_schema_is_said(registered):
    (registered.folder / "bad.avsc").write_text('{"type": "hunter"}')
    for command in (
        ["generate-model", "--topic", "bills", "--avro", "bad.avsc"],
        ["upload-schema", "--avro", "bad.avsc", "--subject", registered.subject],
    ):
        done = registered.runs(*command)
        assert done.status == ExitStatus.CONFIGURATION, done
        assert "Traceback" not in done.stderr
