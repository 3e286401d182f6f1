"""Models of others in the configuration: what is refused, and what check-config says of keys without effect."""

from __future__ import annotations

import pytest

from sidecar.config import loads, warnings
from sidecar.errors import ConfigError

HTTP = """
ml_anomaly_detection:
  models:
    - name: alert-pattern-detector
      type: time-series-anomaly
      provider: http
      endpoint: http://sophia-ml.sophia-system:8080/anomaly
    - name: false-positive-classifier
      type: binary-classifier
      provider: http
      endpoint: http://sophia-ml.sophia-system:8080/classify
      timeout: 150ms
      max_batch: 100
      bearer_token: ${TOKEN}
      headers: {X-Team: "a team's key"}
      auto_suppress: true
"""


def model(text: str) -> str:
    return f"ml_anomaly_detection: {{models: [{{name: m, type: binary-classifier, {text}}}]}}"


def test_http_models_are_asked():
    """Both kinds, in the order of the file, and no key of theirs is called ineffective."""
    config = loads(HTTP, {"TOKEN": "t0ken"})
    assert [(one.name, one.timeout, one.max_batch) for one in config.http_models] == [
        ("alert-pattern-detector", 0.2, 500),
        ("false-positive-classifier", 0.15, 100),
    ]
    assert not [path for path, _ in warnings(config) if path.startswith("ml_anomaly_detection")]
    assert config.auto_suppress


def test_their_credentials_are_secrets():
    """The printed configuration has stars, and a file may hold the token."""
    config = loads(HTTP, {"TOKEN": "t0ken"})
    for shown in (config.redacted(), repr(config)):
        assert "t0ken" not in shown
        assert "a team's key" not in shown


def test_the_token_may_be_a_file(tmp_path):
    """As every secret."""
    (tmp_path / "token").write_text("from a file\n")
    config = loads(HTTP.replace("bearer_token: ${TOKEN}", "bearer_token_file: token"), {}, tmp_path)
    token = config.http_models[1].bearer_token
    assert token is not None
    assert token.get_secret_value() == "from a file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("provider: http", "needs an endpoint"),
        ("provider: grpc", "must be one of"),
        ("provider: http, endpoint: 'localhost:80'", "http"),
        ("provider: http, endpoint: 'http://user:pass@host/x'", "without credentials"),
        ("provider: http, endpoint: 'http://h/x', timeout: 0s", "at most 5s"),
        ("provider: http, endpoint: 'http://h/x', timeout: 6s", "at most 5s"),
        ("provider: http, endpoint: 'http://h/x', max_batch: 0", "max_batch"),
        ("provider: http, endpoint: 'http://h/x', headers: {'a b': x}", "'a b' cannot be set"),
        ("provider: http, endpoint: 'http://h/x', headers: {Content-Length: '3'}", "cannot be set"),
        ('provider: http, endpoint: "http://h/x", headers: {X-Key: "a\\nb"}', "line break"),
        ('provider: http, endpoint: "http://h/x", bearer_token: "a\\nb"', "line break"),
        ("provider: http, endpoint: 'http://h/x', bearer_token: t, headers: {authorization: x}", "keep one of them"),
    ],
)
def test_mistakes_are_refused_with_what_to_write(text, said):
    """Each at the path of the model."""
    with pytest.raises(ConfigError) as caught:
        loads(model(text))
    assert said in str(caught.value)
    assert all(path.startswith("ml_anomaly_detection.models[0]") for path, _, _ in caught.value.problems)


def test_keys_that_do_nothing_are_named():
    """An endpoint that is not asked, settings of one that is not, features, and a second model of a type."""
    said = dict(warnings(loads(model("endpoint: 'http://h/x', timeout: 1s, headers: {A: b}, features: [time_of_day]"))))
    path = "ml_anomaly_detection.models[0]"
    assert "`provider: http` asks it" in said[f"{path}.endpoint"]
    for key in ("timeout", "headers"):
        assert said[f"{path}.{key}"] == "has no effect without `provider: http`"
    assert "no effect" in said[f"{path}.features"]

    asked = dict(warnings(loads(model("provider: http, endpoint: 'http://h/x', features: [time_of_day]"))))
    assert "is sent the alert itself" in asked[f"{path}.features"]
    assert f"{path}.endpoint" not in asked

    twice = HTTP.replace("time-series-anomaly", "binary-classifier")
    config = loads(twice, {"TOKEN": "t"})
    assert "only the first binary-classifier counts" in dict(warnings(config))["ml_anomaly_detection.models[1]"]
    assert [one.name for one in config.http_models] == ["alert-pattern-detector"]


def test_switched_off_no_endpoint_is_asked():
    """And check-config says so."""
    off = HTTP.replace("  models:", "  enabled: false\n  models:")
    config = loads(off, {"TOKEN": "t"})
    assert config.http_models == ()
    assert "no endpoint is asked" in dict(warnings(config))["ml_anomaly_detection.enabled"]
