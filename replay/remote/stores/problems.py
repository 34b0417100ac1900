"""What goes wrong with a store, in one line with the way out: each store's package has errors of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from replay.remote.stores.address import EXTRAS, StoreAddress

_SAID: Final = 160
_LOG_IN: Final = {
    "s3": "log in with aws configure or aws sso login",
    "gcs": "log in with gcloud auth application-default login",
    "hf": "log in with hf auth login",
    "http": "check the address",
}
_PUBLIC: Final = {
    "s3": ", or for a public bucket set FSSPEC_S3_ANON=true",
    "gcs": ", or for a public bucket set FSSPEC_GCS_TOKEN=anon",
}
_NO_CREDENTIALS: Final = re.compile(r"NoCredentials|CredentialRetrieval|DefaultCredentials|PartialCredentials")
_EXPIRED: Final = re.compile(r"expired", re.IGNORECASE)
_UNREACHABLE: Final = re.compile(
    r"EndpointConnection|ClientConnector|ConnectError|gaierror|ConnectionRefused|ServerDisc"
)
_SLOW: Final = re.compile(r"Timeout", re.IGNORECASE)


Kind = Literal["missing", "no bucket", "no credentials", "expired", "denied", "exists", "other"]


class StoreProblem(Exception):
    """What a store did not do, in one line with the way out.

    Attributes:
        kind: what it is.
    """

    def __init__(self, text: str, kind: Kind = "other") -> None:
        super().__init__(text)
        self.kind = kind

    @property
    def missing(self) -> bool:
        """Whether there is no such object."""
        return self.kind in ("missing", "no bucket")


def problem_of(error: BaseException, address: StoreAddress) -> StoreProblem:
    """What an error of a store's package means for an address."""
    if isinstance(error, StoreProblem):
        return error
    chain = list(_chain(error))
    names = " ".join(type(one).__name__ for one in chain)
    text = " ".join(str(one) for one in chain)
    status = next((found for one in chain if (found := _status(one))), 0)
    where, extra = address.shown, EXTRAS.get(address.scheme, "")
    log_in = _LOG_IN.get(extra, "log in")
    if isinstance(error, FileExistsError) or status == 412:
        return StoreProblem(f"{where} exists already and is not overwritten; choose another place", "exists")
    if _NO_CREDENTIALS.search(names) or "nonymous" in text:
        return StoreProblem(f"{where}: there are no credentials; {log_in}{_PUBLIC.get(extra, '')}", "no credentials")
    if _UNREACHABLE.search(names):  # fsspec's error for it may say that there is no such file
        return StoreProblem(f"{where} cannot be reached; check the network and the address")
    if isinstance(error, PermissionError) or status in (401, 403):
        if _EXPIRED.search(text):
            return StoreProblem(f"{where}: the credentials have expired; {log_in}, and do it again", "expired")
        way = (
            f"{log_in} as somebody who may, or ask for the right"
            if extra in _PUBLIC
            else "ask for the right to read it"
        )
        return StoreProblem(f"{where}: permission denied ({_one_line(error)}); {way}", "denied")
    if isinstance(error, FileNotFoundError) or status == 404 or "NotFound" in names:
        if "bucket does not exist" in text:
            return StoreProblem(f"{where}: there is no such bucket; check the address", "no bucket")
        return StoreProblem(f"{where} does not exist; check the address", "missing")
    if isinstance(error, TimeoutError) or _SLOW.search(names):
        return StoreProblem(f"{where} does not answer in time; try again later")
    return StoreProblem(f"{where}: the store says: {_one_line(error)}; try again later")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, as far as they are a few."""
    for _ in range(6):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _status(error: Any) -> int:
    """The HTTP status that an error carries; 0 for none."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        metadata = response.get("ResponseMetadata")
        found = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
    else:
        found = getattr(response, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    try:
        return int(found or 0)
    except (TypeError, ValueError):
        return 0


def _one_line(error: BaseException) -> str:
    """What an error says, in a line; without what may be a signed address."""
    said = " ".join(str(error).split()) or type(error).__name__
    said = re.sub(r"\?\S+", "?…", said)
    return said if len(said) <= _SAID else f"{said[: _SAID - 1]}…"
