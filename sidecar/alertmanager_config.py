"""A stock Alertmanager's configuration that routes everything to the sidecar.

What it uses exists since Alertmanager 0.25. It holds no secret: Alertmanager reads them from files beside its
configuration, which the rendered text lists. One route goes past the sidecar: that of the alert which says that the
sidecar is down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from sidecar.channels.email import EmailConfig
from sidecar.channels.msteams import MsTeamsConfig
from sidecar.channels.pagerduty import ENQUEUE, PagerDutyConfig
from sidecar.channels.settings import SHORT_PATH, ChannelConfig, reveal
from sidecar.channels.slack import SlackConfig
from sidecar.channels.webhook import WebhookConfig
from sidecar.config.durations import format_duration
from sidecar.config.root import Config
from sidecar.config.specified import Domain, Group

SIDECAR = "sidecar"
DOWN = "sidecar-down"
DOWN_ALERT = "AlertmanagerSidecarDown"
WEBHOOK_SECRET_FILE = "sidecar-webhook.secret"  # noqa: S105 - a file's name
CRITICAL = 'severity=~"(?i)(critical|page|high)"'  # as alerts spell what the sidecar calls CRITICAL


class _Block(NamedTuple):
    """One block of the receiver that is told directly."""

    key: str = ""  # "slack_configs"; empty when a stock Alertmanager cannot do it
    body: dict[str, Any] = {}  # noqa: RUF012 - never changed
    files: tuple[tuple[str, str], ...] = ()  # (file, what has to be in it)
    comment: str = ""


class _Plain(yaml.SafeDumper):
    """Writes equal lists out instead of pointing from one to the other."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - never
        return True


def render(
    config: Config,
    sidecar_url: str,
    fallback: Mapping[str, Any] | None = None,
    direct_critical: bool = False,
) -> str:
    """The YAML of a stock Alertmanager's configuration.

    `sidecar_url` is where Alertmanager reaches the sidecar (`/webhook` is added to a bare host). `fallback` is a
    receiver's body in Alertmanager's own keys ({"slack_configs": [...]}) for the alert that the sidecar is down; by
    default it is made from the default receiver. `direct_critical` also sends critical alerts there, beside the sidecar.
    """
    blocks = [_Block("", dict(fallback))] if fallback else list(_direct(config))
    parts = {
        "global": {"resolve_timeout": format_duration(config.global_.resolve_timeout or 300.0)},
        "route": _route(config, direct_critical=direct_critical),
        "inhibit_rules": [
            {
                "source_matchers": [str(matcher) for matcher in rule.source_matchers],
                "target_matchers": [str(matcher) for matcher in rule.target_matchers],
                **({"equal": list(rule.equal)} if rule.equal else {}),
            }
            for rule in config.inhibit_rules
        ],
        "receivers": [_sidecar(config, sidecar_url), _down(blocks)],
    }
    texts = {
        name: yaml.dump({name: part}, Dumper=_Plain, sort_keys=False, default_flow_style=None, width=1000)
        for name, part in parts.items()
    }
    texts["receivers"] = _comments(config, blocks) + texts["receivers"]
    return "# Written by `sidecar render-alertmanager`: change sidecar.yml and render it again.\n" + "\n".join(
        texts.values()
    )


# ----------------------------------------------------------------------------------------------------------------- routes


def _route(config: Config, *, direct_critical: bool) -> dict[str, Any]:
    routes: list[dict[str, Any]] = [
        {
            "matchers": [f'alertname="{DOWN_ALERT}"'],
            "receiver": DOWN,
            "group_by": ["alertname"],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "1h",
        }
    ]
    if direct_critical:
        routes.append({"matchers": [CRITICAL], "receiver": DOWN, "continue": True})
    for name, domain in config.domains.items():
        grouping = _grouping(config.group_for(name))
        routes += [{"matchers": matchers, "receiver": SIDECAR, **grouping} for matchers in _alternatives(domain)]
    return {"receiver": SIDECAR, **_grouping(config.group_for("")), "routes": routes}


def _alternatives(domain: Domain) -> Iterator[list[str]]:
    """The matchers of each of a domain's alternatives: a route knows no "or"."""
    every = [str(matcher) for matcher in domain.matchers]
    for some in domain.any_of or ((),):
        matchers = [*every, *(str(matcher) for matcher in some)]
        if matchers:
            yield matchers


def _grouping(group: Group) -> dict[str, Any]:
    return {
        "group_by": list(group.group_by),
        "group_wait": format_duration(group.group_wait),
        "group_interval": format_duration(group.group_interval),
        "repeat_interval": format_duration(group.repeat_interval),
    }


# -------------------------------------------------------------------------------------------------------------- receivers


def _sidecar(config: Config, url: str) -> dict[str, Any]:
    # A redirect would lose alerts: Alertmanager follows it with a GET that has no body.
    http: dict[str, Any] = {"follow_redirects": False}
    if config.server.webhook_secret is not None:
        http["authorization"] = {"type": "Bearer", "credentials_file": WEBHOOK_SECRET_FILE}
    block = {"url": _webhook_url(url), "send_resolved": True, "max_alerts": 0, "http_config": http}
    return {"name": SIDECAR, "webhook_configs": [block]}


def _webhook_url(url: str) -> str:
    """A listen address as a URL that can be reached, with the webhook's path."""
    reachable = re.sub(r"^(https?://)(?:0\.0\.0\.0|\[::\])?(?=:|/|$)", r"\g<1>127.0.0.1", url).rstrip("/")
    return reachable if urlsplit(reachable).path else f"{reachable}/webhook"


def _down(blocks: list[_Block]) -> dict[str, Any]:
    """The receiver that is told past the sidecar. Without a block it tells nobody, and a comment says so."""
    receiver: dict[str, Any] = {"name": DOWN}
    for block in blocks:
        if block.key:
            receiver.setdefault(block.key, []).append(block.body)
        else:
            receiver.update(block.body)
    return receiver


def _comments(config: Config, blocks: list[_Block]) -> str:
    files = [one for block in blocks for one in block.files]
    if config.server.webhook_secret is not None:
        files.insert(0, (WEBHOOK_SECRET_FILE, "server.webhook_secret"))
    lines = ["Alertmanager reads these files, which belong beside this one:"] if files else []
    lines += [f"  {name}: {content}" for name, content in files]
    lines += [line for block in blocks for line in block.comment.splitlines()]
    if not any(block.body for block in blocks):
        lines += [
            f"NOBODY IS TOLD WHEN THE SIDECAR IS DOWN: {config.default!r} has nothing that Alertmanager could use by itself.",
            f"Add a slack, pagerduty, email or webhook block to {DOWN!r} below.",
        ]
    return "".join(f"# {line}\n" for line in lines)


def _direct(config: Config) -> Iterator[_Block]:
    """The default receiver's blocks in Alertmanager's own words."""
    receiver = config.receiver(config.default)
    for _, target, block in receiver.blocks() if receiver else ():
        file = f"{DOWN}-{'-'.join(target.split('/')[1:])}.secret"
        path = f"{target.split('/')[1]}_configs[{target.rpartition('/')[2]}] of {config.default}"
        made = _stock(block, file, path)
        if made is not None:
            yield made
        if "@" in reveal(block.http_config.proxy_url):
            yield _Block(comment=f"{path}: add its proxy_url by hand, since it holds a password.")


def _stock(block: ChannelConfig, file: str, path: str) -> _Block | None:
    """One block as a stock Alertmanager takes it; None for a channel it has not."""
    if isinstance(block, SlackConfig):
        return _slack(block, file, path)
    if isinstance(block, PagerDutyConfig):
        body = {"routing_key_file": file, "send_resolved": True, **({} if block.url == ENQUEUE else {"url": block.url})}
        return _Block("pagerduty_configs", body | _http(block), ((file, f"routing_key of {path}"),))
    if isinstance(block, EmailConfig):
        return _email(block, file, path)
    if isinstance(block, WebhookConfig):
        return _webhook(block, file, path)
    if isinstance(block, MsTeamsConfig):
        return _Block(
            comment=f"{path}: Alertmanager has it since 0.28. There, add to {DOWN!r} below, with the URL in {file}:\n"
            f"  msteamsv2_configs: [{{webhook_url_file: {file}}}]"
        )
    return None


def _http(block: ChannelConfig, **more: Any) -> dict[str, Any]:
    url = reveal(block.http_config.proxy_url)
    proxy = {"proxy_url": url} if url and "@" not in url else {}
    return {"http_config": {**proxy, **more}} if proxy or more else {}


def _slack(block: SlackConfig, file: str, path: str) -> _Block:
    body: dict[str, Any] = {"send_resolved": True, **({"channel": block.channel} if block.channel else {})}
    if not block.has_token:
        body |= {"api_url_file": file, **_http(block)}
        return _Block("slack_configs", body, ((file, f"api_url of {path}"),))
    # https://prometheus.io/docs/alerting/latest/configuration/#slack_config: a bot token with chat.postMessage as URL
    bearer = {"type": "Bearer", "credentials_file": file}
    body |= {"api_url": f"{block.api}/chat.postMessage", **_http(block, authorization=bearer)}
    return _Block("slack_configs", body, ((file, f"bot_token of {path}"),))


def _email(block: EmailConfig, file: str, path: str) -> _Block:
    body: dict[str, Any] = {
        "to": block.to,
        "from": block.from_,
        "smarthost": block.smarthost,
        "hello": block.hello,
        "require_tls": block.require_tls,
        "send_resolved": True,
    }
    if block.auth_username:
        body["auth_username"] = block.auth_username
    tls = block.tls_config.model_dump(exclude_defaults=True)
    if tls:
        body["tls_config"] = tls
    if not reveal(block.auth_password):
        return _Block("email_configs", body)
    return _Block("email_configs", {**body, "auth_password_file": file}, ((file, f"auth_password of {path}"),))


def _webhook(block: WebhookConfig, file: str, path: str) -> _Block:
    """A URL is written out only when nothing in it looks like a secret: 0.25 reads none from a file."""
    url = reveal(block.url)
    parts = urlsplit(url)
    if parts.query or parts.username or len(parts.path) >= SHORT_PATH or block.http_config.headers():
        return _Block(
            comment=f"{path}: its URL or credentials are a secret. Since 0.26, add to {DOWN!r} below, with the URL in {file}:\n"
            f"  webhook_configs: [{{url_file: {file}, send_resolved: true}}]"
        )
    return _Block("webhook_configs", {"url": url, "send_resolved": True, **_http(block)})
