"""The specification's sections that are checked now and have no effect yet; `warnings` says so."""

from __future__ import annotations

from typing import Literal

from sidecar.config.durations import Duration
from sidecar.config.fields import Secret, Section


class AuditOutput(Section):
    type: Literal["file", "syslog", "elasticsearch"]
    path: str | None = None
    rotation: str | None = None
    retention: Duration | None = None
    endpoint: str | None = None
    protocol: Literal["tcp", "udp"] | None = None
    format: str | None = None
    index: str | None = None


class Compliance(Section):
    standards: tuple[str, ...] = ()
    pii_masking: Literal["enabled", "disabled"] = "enabled"
    retention_policy: str = ""


class AuditLogging(Section):
    """Who did what (6.4)."""

    enabled: bool = True
    level: str = "detailed"
    events: tuple[str, ...] = ()
    outputs: tuple[AuditOutput, ...] = ()
    compliance: Compliance | None = None


class BasicUsers(Section):
    enabled: bool = True
    users_file: str


class OAuth2(Section):
    enabled: bool = True
    provider: str
    client_id: str
    client_secret: Secret
    redirect_url: str = ""
    scopes: tuple[str, ...] = ()


class ApiKeys(Section):
    enabled: bool = True
    rotation_period: Duration | None = None
    endpoints: tuple[str, ...] = ()


class Authentication(Section):
    """Who may use the API and the pages (6.1)."""

    basic_auth: BasicUsers | None = None
    oauth2: OAuth2 | None = None
    api_keys: ApiKeys | None = None


class Tls(Section):
    enabled: bool = True
    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    cipher_suites: tuple[str, ...] = ()
    min_version: str = "TLS1.2"


class WebhookTls(Section):
    enabled: bool = True
    verify_ssl: bool = True
    ca_bundle: str | None = None


class DataEncryption(Section):
    at_rest: bool = True
    provider: str = ""
    key_rotation: Duration | None = None


class Encryption(Section):
    """TLS and data at rest (6.3)."""

    tls: Tls | None = None
    webhook_tls: WebhookTls | None = None
    data_encryption: DataEncryption | None = None
