"""What the channels' configurations share: Alertmanager's own key names, secrets and their files, durations.

A key that Alertmanager has and this project does not use is declared and listed in `NO_EFFECT`, so that an existing
block moves over and `warnings()` says what it no longer does; an unknown key is an error.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
UNITS = (365 * 86400.0, 7 * 86400.0, 86400.0, 3600.0, 60.0, 1.0, 0.001)
SHORT = 4  # characters; a secret shorter than this would star out half of every sentence
SHORT_PATH = 12  # characters; a shorter path of a secret URL (/api, /alerts) is no secret
STARS = "*****"


def parse_duration(value: Any) -> Any:
    """Seconds from Alertmanager's notation (`1m30s`, `500ms`) or a plain number."""
    if not isinstance(value, str):
        return value
    match = DURATION.fullmatch(value.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"{value!r} is not a duration: write it as 30s, 5m or 1h30m")
    return sum(int(count) * unit for count, unit in zip(match.groups(), UNITS, strict=True) if count)


def check_url(url: str) -> str:
    """The same URL; ValueError unless it is http or https with a host and without characters no URL has."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("not a URL: write it as https://host/path")
    _ = parts.port  # raises for a port that is none
    return url


def check_open_url(url: str) -> str:
    """As `check_url`, for a URL that is shown: it may carry no credentials."""
    if "@" in urlsplit(url).netloc:
        raise ValueError("a user and password in a URL are shown to everybody: write them under http_config.basic_auth")
    return check_url(url)


def check_secret_url(url: SecretStr) -> SecretStr:
    check_url(url.get_secret_value())
    return url


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=600)]
Url = Annotated[str, AfterValidator(check_open_url)]
SecretUrl = Annotated[SecretStr, AfterValidator(check_secret_url)]


def read_secret(path: str) -> str:
    """A secret file's content without its last line break; ValueError that names the file if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not text'}") from None


class Section(BaseModel):
    """A frozen part of the configuration. Of `x` and `x_file` at most one is given; `x` holds the secret either way."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        found = dict(given)
        for key in [
            name for name in given if name.endswith("_file") and name.removesuffix("_file") in cls.model_fields
        ]:
            plain = key.removesuffix("_file")
            if given[key] and given.get(plain):
                raise ValueError(f"{plain} and {key} are both given: keep one of them")
            if given[key]:
                found[plain] = _read_field(key, str(given[key]))
        return found

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr) and re.search(r"[\x00-\x1f\x7f]", value.get_secret_value()):
                raise ValueError(f"{name} holds a line break or control character")
        return self


def _read_field(key: str, path: str) -> str:
    try:
        secret = read_secret(path)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if not secret:
        raise ValueError(f"{key}: {path} is empty")
    return secret


class BasicAuth(Section):
    """HTTP Basic."""

    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""


class Authorization(Section):
    """An Authorization header: `type` and `credentials`."""

    type: str = "Bearer"
    credentials: SecretStr = SecretStr("")
    credentials_file: str = ""


class TlsConfig(Section):
    """How the server's certificate is checked."""

    insecure_skip_verify: bool = False
    ca_file: str = ""

    @model_validator(mode="after")
    def _check_ca(self) -> TlsConfig:
        if self.ca_file and not Path(self.ca_file).is_file():
            raise ValueError(f"ca_file: there is no file {self.ca_file}")
        return self


class HttpConfig(Section):
    """The part of Alertmanager's `http_config` that applies here."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: TlsConfig = TlsConfig()
    proxy_url: SecretUrl | None = None
    follow_redirects: bool = False
    enable_http2: bool = False

    @model_validator(mode="after")
    def _check_one(self) -> HttpConfig:
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization are both given: keep one of them")
        return self

    def headers(self) -> dict[str, str]:
        """The Authorization header, if one is configured."""
        if self.authorization:
            return {"Authorization": f"{self.authorization.type} {reveal(self.authorization.credentials)}"}
        if self.basic_auth:
            pair = f"{self.basic_auth.username}:{reveal(self.basic_auth.password)}"
            return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        return {}


class ChannelConfig(Section):
    """The keys every channel has."""

    NO_EFFECT: ClassVar[frozenset[str]] = frozenset()

    send_resolved: bool = True
    timeout: Duration = 10.0
    http_config: HttpConfig = HttpConfig()

    def warnings(self) -> tuple[str, ...]:
        """What check-config should say about a block that is valid: keys without effect, and what is missing."""
        unused = sorted(self.NO_EFFECT & self.model_fields_set)
        found = [f"{key.rstrip('_')} has no effect here: the sidecar writes its own messages" for key in unused]
        found += [
            f"http_config.{key} has no effect here"
            for key in ("follow_redirects", "enable_http2")
            if getattr(self.http_config, key)
        ]
        return tuple(found)


# --------------------------------------------------------------------------------------------------------------- secrets


def reveal(secret: SecretStr | None) -> str:
    """The secret's text; empty for none."""
    return secret.get_secret_value() if secret else ""


def secret_of(config: Section, field: str) -> str:
    """The text of the secret `field`, whether the configuration gave it plainly or as a file."""
    return reveal(getattr(config, field))


def digest(secret: str) -> str:
    """Twelve characters that tell two secrets apart and reveal neither."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:12]


def secrets_in(section: BaseModel) -> set[str]:
    """Every secret text in a configuration; of a secret URL also its path and query, which carry the secret."""
    found: set[str] = set()
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found |= secrets_in(value)
        elif isinstance(value, SecretStr):
            text = reveal(value)
            parts = urlsplit(text) if text.startswith(("http://", "https://")) else None
            found.add(text)
            if parts:
                found |= {part for part in (parts.path, parts.query) if len(part) >= SHORT_PATH} | {
                    parts.password or ""
                }
    return {text for text in found if len(text) >= SHORT}


def redact(text: str, config: BaseModel, also: tuple[str, ...] = ()) -> str:
    """`text` with every secret of the configuration as stars."""
    for secret in sorted(secrets_in(config) | set(also), key=len, reverse=True):
        text = text.replace(secret, STARS)
    return text
