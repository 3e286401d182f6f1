"""What `deploy/` ships is accepted by the programs it is for, and fits the sidecar it deploys."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar import __version__
from sidecar.__main__ import _parser
from sidecar.alertmanager_config import DOWN_ALERT, render
from sidecar.config import Config, loads
from sidecar.intake.handlers import routes
from sidecar.telemetry import Metrics
from tests.servers import ROOT, amtool, find_program
from tests.unit.config.samples import env_of

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus-rules.yml"
CONFIG_FILE = "/etc/sidecar/sidecar.yml"


def promtool(*words: str) -> str:
    """What promtool prints; it has to succeed. It comes with Prometheus."""
    program = Path(find_program("prometheus")).with_name("promtool")
    done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def config(name: str, **env: str) -> Config:
    text = (DEPLOY / name).read_text("utf-8")
    return loads(text, {**env_of(text), **env})


# ------------------------------------------------------------------------------------------------------ prometheus-rules


def alerting() -> list[dict[str, Any]]:
    return [rule for group in read("prometheus-rules.yml")["groups"] for rule in group["rules"]]


def test_promtool_accepts_the_rules():
    """As many rules as the file has."""
    assert f"{len(alerting())} rules found" in promtool("check", "rules", str(RULES))


def test_the_rules_name_metrics_that_exist():
    """Every sidecar_ metric of an expression is one that the sidecar exposes."""
    known = {name for names in Metrics().registry._collector_to_names.values() for name in names}
    named = {name for rule in alerting() for name in re.findall(r"\bsidecar_\w+", rule["expr"])}

    assert named
    assert named <= known


def test_every_rule_says_what_to_do():
    """A severity to route by, a summary and a description."""
    for rule in alerting():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


SIDECAR = {"job": "alertmanager-sidecar", "instance": "a:9095"}
CASES: dict[str, tuple[dict[str, str], int, list[tuple[str, dict[str, str]]]]] = {
    # what is scraped every minute, minutes until it is looked at, (alert, its labels)
    "all is well": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x60",
            'sidecar_webhooks_total{status="200"}': "0+10x60",
        },
        30,
        [],
    ),
    "it was never there": (
        {},
        3,
        [(DOWN_ALERT, {"severity": "critical", "reason": "unreachable", "job": SIDECAR["job"]})],
    ),
    "it is down": (
        {'up{job="alertmanager-sidecar", instance="a:9095"}': "1 1 0x20"},
        5,
        [(DOWN_ALERT, {"severity": "critical", "reason": "unreachable"})],
    ),
    "one replica of two is down": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "0x30",
            'up{job="alertmanager-sidecar", instance="b:9095"}': "1x30",
        },
        10,
        [("AlertmanagerSidecarReplicaDown", {"severity": "warning", **SIDECAR})],
    ),
    "it refuses every webhook": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x30",
            'sidecar_webhooks_total{status="200"}': "7x30",
            'sidecar_webhooks_total{status="503"}': "0+10x30",
        },
        10,
        [(DOWN_ALERT, {"severity": "critical", "reason": "refuses"})],
    ),
    "a receiver takes nothing": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x60",
            'sidecar_notifications_total{receiver="oncall",channel="slack"}': "5x60",
            'sidecar_notifications_failed_total{receiver="oncall",channel="slack",outcome="retry"}': "0+1x60",
            'sidecar_notifications_total{receiver="pager",channel="pagerduty"}': "0+1x60",
            'sidecar_notifications_failed_total{receiver="pager",channel="pagerduty",outcome="retry"}': "0+1x60",
        },
        30,
        [
            (
                "AlertmanagerSidecarNotificationsFailing",
                {"severity": "critical", "receiver": "oncall", "channel": "slack"},
            )
        ],
    ),
    "a team's own model does not answer": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x60",
            'sidecar_provider_requests_total{model="theirs",outcome="answered"}': "7x60",
            'sidecar_provider_requests_total{model="theirs",outcome="failed"}': "0+1x60",
            'sidecar_provider_requests_total{model="other",outcome="answered"}': "0+5x60",
            'sidecar_provider_requests_total{model="other",outcome="wrong"}': "0+1x60",
        },
        50,
        [("AlertmanagerSidecarModelEndpointFailing", {"severity": "warning", "model": "theirs"})],
    ),
    "there are dead letters": (
        {'up{job="alertmanager-sidecar", instance="a:9095"}': "1x60", 'sidecar_outbox_rows{state="dead"}': "0 0 2x60"},
        10,
        [("AlertmanagerSidecarDeadLetters", {"severity": "warning"})],
    ),
    "messages wait": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x60",
            'sidecar_outbox_rows{state="waiting"}': "3x60",
        },
        40,
        [("AlertmanagerSidecarBacklog", {"severity": "warning"})],
    ),
    "the new configuration is wrong": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x60",
            'sidecar_config_last_reload_successful{instance="a:9095"}': "1 0x60",
        },
        10,
        [("AlertmanagerSidecarConfigReloadFailed", {"severity": "warning", "instance": "a:9095"})],
    ),
    "the tables are behind": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x60",
            'sidecar_projection_lag_rows{instance="a:9095"}': "900x60",
        },
        10,
        [("AlertmanagerSidecarProjectionLag", {"severity": "warning", "instance": "a:9095"})],
    ),
    "training ran long ago": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x5000",
            "sidecar_training_last_run_timestamp_seconds": "60x5000",
            "sidecar_training_last_promoted": "1x5000",
        },
        2 * 1440 + 5,
        [("AlertmanagerSidecarTrainingStale", {"severity": "info"})],
    ),
    "training has not been due": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x5000",
            "sidecar_training_last_run_timestamp_seconds": "0x5000",
        },
        3 * 1440,
        [],
    ),
    "no model has served": (
        {
            'up{job="alertmanager-sidecar", instance="a:9095"}': "1x21000",
            "sidecar_scoring_fallback": "1x21000",
        },
        14 * 1440 + 5,
        [("AlertmanagerSidecarScoringFallback", {"severity": "info"})],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rules_fire_when_they_should(case: str, tmp_path: Path):
    """Prometheus' own evaluation: these alerts fire, and no other."""
    series, minutes, expected = CASES[case]
    names = {rule["alert"] for rule in alerting()}
    fire: dict[str, list[dict[str, Any]]] = {name: [] for name in sorted(names)}
    for name, labels in expected:
        fire[name].append({"exp_labels": labels})
    tests = {
        "rule_files": ["bare.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": alerts}
                    for name, alerts in fire.items()
                ],
            }
        ],
    }
    rules = read("prometheus-rules.yml")
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations")  # promtool compares them letter by letter
    (tmp_path / "bare.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))

    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "tests.yml"))


# -------------------------------------------------------------------------------------------------------- docker compose


def test_the_composed_sidecar_gets_what_its_configuration_asks_for():
    """Variables, port, database and Alertmanager are those of the other services."""
    services = read("docker-compose.yml")["services"]
    sidecar, text = services["sidecar"], (DEPLOY / "compose/sidecar.yml").read_text("utf-8")

    assert set(env_of(text)) - {"TEAMS_WORKFLOW_URL"} == set(sidecar["environment"])
    assert sidecar["image"] == f"alertmanager-sidecar:{__version__}"
    loaded = config("compose/sidecar.yml")
    assert sidecar["ports"] == [f"127.0.0.1:{loaded.server.port}:{loaded.server.port}"]
    assert "@postgres:5432/sidecar" in loaded.store.url
    assert {"postgres", "alertmanager"} <= set(services)
    assert [peer.url for peer in loaded.alertmanagers] == ["http://alertmanager:9093"]


def test_the_composed_alertmanager_is_the_rendered_one():
    """Its file is what render-alertmanager writes for the composed sidecar, and amtool accepts it."""
    path = DEPLOY / "compose/alertmanager.yml"
    again = "run: sidecar render-alertmanager --config deploy/compose/sidecar.yml --url http://sidecar:9095"

    assert render(config("compose/sidecar.yml"), "http://sidecar:9095") == path.read_text("utf-8"), again
    assert "SUCCESS" in amtool("check-config", str(path))


def test_the_composed_prometheus_has_the_rules(tmp_path: Path):
    """Its configuration is accepted beside the rules, and the job has the name that the rules expect."""
    (tmp_path / "prometheus.yml").write_text((DEPLOY / "compose/prometheus.yml").read_text("utf-8"))
    (tmp_path / "prometheus-rules.yml").write_text(RULES.read_text("utf-8"))

    said = promtool("check", "config", str(tmp_path / "prometheus.yml"))

    assert "1 rule files found" in said
    assert SIDECAR["job"] in [job["job_name"] for job in read("compose/prometheus.yml")["scrape_configs"]]


def test_mounted_files_exist():
    """Every file that the compose file mounts is in the repository."""
    mounts = [
        mount for service in read("docker-compose.yml")["services"].values() for mount in service.get("volumes", ())
    ]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) >= 4

    assert [name for name in files if not (DEPLOY / name).is_file()] == []


# ------------------------------------------------------------------------------------------------------------ Kubernetes


def container(name: str) -> dict[str, Any]:
    """The one container of a Deployment or a CronJob."""
    spec = read(f"kubernetes/{name}.yaml")["spec"]
    pod = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return found


def test_kubernetes_files_are_all_listed():
    """The kustomization names every manifest, the configuration, and this version."""
    listed = read("kubernetes/kustomization.yaml")
    manifests = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}

    assert set(listed["resources"]) == manifests
    assert listed["configMapGenerator"] == [{"name": "alertmanager-sidecar", "files": ["sidecar.yml"]}]
    assert [(image["name"], image["newTag"]) for image in listed["images"]] == [("alertmanager-sidecar", __version__)]


def test_kubernetes_secrets_are_those_that_the_configuration_asks_for():
    """The comment that makes the Secret names every variable, and none that is not used."""
    text = (DEPLOY / "kubernetes/sidecar.yml").read_text("utf-8")
    named = re.findall(r"--from-literal=(\w+)=", (DEPLOY / "kubernetes/kustomization.yaml").read_text("utf-8"))

    assert sorted(named) == sorted(set(env_of(text)) - {"TEAMS_WORKFLOW_URL"})
    for name in ("deployment", "cronjob"):
        assert container(name)["envFrom"] == [{"secretRef": {"name": "alertmanager-sidecar"}}]


def test_kubernetes_runs_the_sidecar_as_it_can_be_run():
    """Its arguments parse, its port and probes are served, and the Service finds its pods."""
    deployment, served = read("kubernetes/deployment.yaml"), container("deployment")
    loaded = config("kubernetes/sidecar.yml", DATABASE_URL="postgresql://sidecar:x@postgres/sidecar")
    paths = {route.path for route in routes()}

    assert _parser().parse_args(served["args"]).config == CONFIG_FILE
    assert [port["containerPort"] for port in served["ports"]] == [loaded.server.port]
    assert all(served[f"{kind}Probe"]["httpGet"]["path"] in paths for kind in ("startup", "readiness", "liveness"))
    service = read("kubernetes/service.yaml")["spec"]
    assert service["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert [port["port"] for port in service["ports"]] == [loaded.server.port]


def test_kubernetes_trains_once():
    """The CronJob trains on the same configuration, so the server does not."""
    loaded = config("kubernetes/sidecar.yml", DATABASE_URL="postgresql://sidecar:x@postgres/sidecar")

    assert not loaded.training.nightly
    assert f"python -m training run --config {CONFIG_FILE}" in container("cronjob")["command"][-1]
    assert read("kubernetes/cronjob.yaml")["spec"]["schedule"] == loaded.training.schedule


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 0), (1, 1), (2, 1)])
def test_a_refused_model_is_no_failed_job(code: int, expected: int, tmp_path: Path):
    """Exit code 3, refused by the gate, is success to Kubernetes; every other failure is one."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {code}\n")
    python.chmod(0o755)

    done = subprocess.run(container("cronjob")["command"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)

    assert done.returncode == expected
