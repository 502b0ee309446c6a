"""What must not be shown, in every form in which it may turn up."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.redaction import Redactor, of_environment, of_urls, without_user

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"


def test_the_environment_has_secrets_of_kafka_and_of_the_registry():
    assert of_environment(
        {
            "KAFKA_SASL_PASSWORD": "one",
            "SCHEMA_REGISTRY_API_SECRET": "two",
            "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "me:three",
            "SCHEMA_REGISTRY_URL": "https://you:fo%75r@registry",
            "HOME": "/",
        }
    ) == ["one", "two", "me:three", "three", "you:fo%75r", "fo%75r", "you:four", "four"]
    assert of_environment({"KAFKA_SASL_PASSWORD": ""}) == []


def test_every_address_of_several_may_have_a_user():
    urls = "http://a:one@x/,https://b:two@y:8081,http://c"
    assert of_urls(urls) == ["a:one", "one", "b:two", "two"]
    assert without_user(urls) == "http://x/,https://y:8081,http://c"
    assert of_urls("http://registry/a:b@c") == []


@pytest.mark.parametrize(
    "secret", ["hunter2", 'hun"ter', "hun\\ter", "hun\nter's", "hünter", "a:b c"]
)
def test_a_secret_is_hidden_in_each_form(secret):
    redact = Redactor([secret])
    python, javascript = repr(secret)[1:-1], json.dumps(secret)[1:-1]
    assert redact(f"password={secret}!") == "password=[redacted]!"
    assert redact(repr([secret])) == repr([secret]).replace(python, "[redacted]")
    assert redact(json.dumps([secret])) == json.dumps([secret]).replace(javascript, "[redacted]")


def test_user_and_password_are_hidden_as_basic_authentication_sends_them():
    sent = base64.b64encode(b"me:hunter2").decode()
    assert Redactor(["me:hunter2"])(f"Basic {sent}") == "Basic [redacted]"


def test_the_lines_of_a_private_key_are_hidden_one_by_one():
    redact = Redactor([KEY])
    for line in KEY.splitlines()[1:-1]:
        assert redact(f"    {line}") == "    [redacted]"
    assert redact("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


@given(st.lists(st.text(min_size=4)))
def test_no_secret_is_left_whatever_the_others_are(secrets):
    redact = Redactor(secrets)
    assert all(redact(secret) != secret for secret in secrets if secret != "[redacted]")


def test_a_short_value_is_not_searched_for():
    assert Redactor(["a"])("a banana") == "a banana"


def test_what_becomes_known_later_is_hidden_from_then_on():
    redact = Redactor(["hunter2"])
    assert redact("hunter2 swordfish") == "[redacted] swordfish"
    redact.hide(["swordfish"])
    assert redact("hunter2 swordfish") == "[redacted] [redacted]"
