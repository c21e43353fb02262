"""Identities by which an Airflow connection to Redis logs in without a password: with tokens that expire."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pkgutil import resolve_name
from types import ModuleType
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, AirflowOptionalProviderFeatureException
from online_features.errors import OnlineAccessError, OnlineFeaturesError, OnlineStoreUnavailableError
from online_features.extras import missing_extra
from redis import CredentialProvider

if TYPE_CHECKING:
    from botocore.credentials import Credentials

# The identities that have a name, with the extras of a connection that each takes.
NAMED = {
    "elasticache": ("aws_conn_id", "cache_name", "region_name", "serverless"),
    "memorydb": ("aws_conn_id", "cache_name", "region_name"),
    "memorystore": ("gcp_conn_id",),
    "azure": (),
}
OPTIONS = frozenset(option for options in NAMED.values() for option in options)

TOKEN_SECONDS = 900  # what ElastiCache and MemoryDB allow at most; a token is used at once
AZURE_SCOPE = "https://redis.azure.com/.default"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """By which a connection logs in.

    :param kind: one of ``NAMED``, or the import path of a credential provider.
    :param connection: id of the Airflow connection, for messages.
    :param user: of Redis; ``None`` if the identity says it.
    :param options: extras that the kind takes.
    """

    kind: str
    connection: str = field(default="", compare=False)
    user: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def provider(self, library: ModuleType) -> CredentialProvider:
        """Return what redis-py asks for credentials at each login; it may look up another Airflow connection now.

        :param library: ``redis`` or ``redis.asyncio``.
        :raises MissingExtraError: when packages are missing, with what to install.
        :raises OnlineAccessError: when there is no such provider, or its connection lacks something.
        :raises OnlineStoreUnavailableError: when it cannot be made for another reason.
        """
        try:
            match self.kind:
                case "elasticache" | "memorydb":
                    return self._of_aws()
                case "memorystore":
                    return _GoogleLogin(self.user, google_token(self.options.get("gcp_conn_id")))
                case "azure":
                    return _of_azure(library)
            return self._imported()
        except OnlineFeaturesError:
            raise
        except AirflowNotFoundException as error:
            raise self._refusal(str(error), "add that connection, or name another one") from error
        except Exception as error:
            raise OnlineStoreUnavailableError(
                f"connection {self.connection!r} has no identity: {type(error).__name__}: {error} -> check that its "
                "service can be reached, and that it knows the identity"
            ) from error

    def _of_aws(self) -> CredentialProvider:
        with needs("aws", f"by credential_provider {self.kind!r}"):
            from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
        given = {name: self.options[name] for name in ("aws_conn_id", "region_name") if name in self.options}
        hook = AwsBaseHook(client_type=self.kind, **given)
        session = hook.get_session(region_name=hook.region_name)
        credentials = session.get_credentials()
        if credentials is None:
            raise self._refusal(f"connection {hook.aws_conn_id!r} has no credentials", "add them to it")
        if session.region_name is None:
            raise self._refusal(f"connection {hook.aws_conn_id!r} has no region", "add region_name")
        return _AwsLogin(self, session.region_name, credentials)

    def _imported(self) -> CredentialProvider:
        try:
            return _instance(self.kind)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise self._refusal(
                str(error),
                "write the import path of a redis.CredentialProvider, or of what makes one without arguments, or one "
                f"of {', '.join(NAMED)}",
            ) from error

    def _refusal(self, what: str, cure: str) -> OnlineAccessError:
        return OnlineAccessError(
            f"extra 'credential_provider' of connection {self.connection!r} cannot be used: {what} -> {cure}"
        )


class _AwsLogin(CredentialProvider):
    """Signs a token for each login, for ElastiCache or MemoryDB; that takes no request.

    :param credentials: of botocore, which renews them itself.
    """

    def __init__(self, identity: Identity, region: str, credentials: Credentials) -> None:
        self._identity = identity
        self._region = region
        self._credentials = credentials

    def get_credentials(self) -> tuple[str, str]:
        from botocore.auth import SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        options = self._identity.options
        resource = {"ResourceType": "ServerlessCache"} if options.get("serverless") else {}
        user = str(self._identity.user)
        request = AWSRequest(
            method="GET",
            url=f"https://{options['cache_name']}/",
            params={"Action": "connect", "User": user, **resource},
        )
        frozen = self._credentials.get_frozen_credentials()
        SigV4QueryAuth(frozen, self._identity.kind, self._region, expires=TOKEN_SECONDS).add_auth(request)
        return user, request.url.removeprefix("https://")


class GoogleToken:
    """The access token of an Airflow connection of Google, renewed some minutes before it expires."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """Return a token that is valid for some minutes at least."""
        from google.auth.transport.requests import Request

        with self._lock:
            if not self._credentials.valid:
                self._credentials.refresh(Request())
            return str(self._credentials.token)


class _GoogleLogin(CredentialProvider):
    """Gives an access token of Google to each login."""

    def __init__(self, user: str | None, token: GoogleToken) -> None:
        self._user = user
        self._token = token

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        token = self._token()
        return (self._user, token) if self._user else (token,)


def google_token(conn_id: str | None) -> GoogleToken:
    """Look up an Airflow connection of Google; the default one if ``None``.

    :raises MissingExtraError: when packages are missing, with what to install.
    """
    with needs("google", "for access tokens of Google"):
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    hook = GoogleBaseHook(gcp_conn_id=conn_id) if conn_id else GoogleBaseHook()
    return GoogleToken(hook.get_credentials())


@contextmanager
def needs(extra: str, purpose: str) -> Iterator[None]:
    """Raise an error that names the extra to install when an import in the context lacks a module.

    :raises MissingExtraError: from the import's error.
    """
    try:
        yield
    except (ModuleNotFoundError, AirflowOptionalProviderFeatureException) as error:
        raise missing_extra(extra, purpose, "airflow-provider-online-features") from error


@cache  # it renews its token in the background, and on open connections: of a client of one of the libraries
def _of_azure(_: ModuleType) -> CredentialProvider:
    with needs("azure", "by credential_provider 'azure'"):
        from redis_entraid.cred_provider import create_from_default_azure_credential
    made: CredentialProvider = create_from_default_azure_credential((AZURE_SCOPE,))
    return made


@cache  # a user's provider may keep a token
def _instance(path: str) -> CredentialProvider:
    """Return the credential provider at an import path.

    :raises TypeError: when it is something else.
    """
    found = resolve_name(path)
    made = found if isinstance(found, CredentialProvider) or not callable(found) else found()
    if not isinstance(made, CredentialProvider):
        raise TypeError(f"{path} is a {type(made).__name__}, not a redis.CredentialProvider")
    return made
