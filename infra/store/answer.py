"""What S3 and its client say when a request fails: whether it is worth another try, and the line that a person reads.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Mapping
from typing import Any

from infra.errors import Away, Refused, StoreError

STATUSES = (429, 500, 502, 503, 504)
TRANSIENT = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestLimitExceeded", "Throttling", "ThrottlingException",
    "TooManyRequests", "OperationAborted", "ConditionalRequestConflict",
}  # fmt: skip
DAMAGED = {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}  # on the way to the store
STALE = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "RequestExpired", "TokenRefreshRequired", "InvalidAccessKeyId"}
ANSWERS = {"404", "NoSuchKey", "NoSuchUpload", "NoSuchVersion", "412", "PreconditionFailed", "416", "InvalidRange", "InvalidPart"}  # no failures
KEEPERS = {
    "env": "the AWS_ variables of the environment", "shared-credentials-file": "the credentials file", "config-file": "AWS's configuration file",
    "sso": "the single sign-on (aws sso login)", "login": "the login (aws login)", "iam-role": "the machine's role",
    "container-role": "the container's role", "assume-role": "the assumed role", "assume-role-with-web-identity": "the service account's role",
    "custom-process": "credential_process",
}  # fmt: skip


class Nonsense(Exception):
    """An answer that is none of S3's: an object without an ETag, or a body of another length than its headers say."""


def chain(error: BaseException | None) -> list[BaseException]:
    """An error and what it was raised from, outermost first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found


def response_of(error: BaseException) -> Mapping[str, Any]:
    """What S3 answered, or {} where no answer came."""
    for one in chain(error):
        if isinstance(found := getattr(one, "response", None), dict):
            return found
    return {}


def code_of(error: BaseException) -> str:
    """What S3 calls an error, or ""."""
    return str(response_of(error).get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int:
    return int(response_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def transient(error: BaseException) -> str:
    """What kind of failure it is that another try may not meet (`SlowDown`, `connection`, `timeout` ...), or "" where none would help."""
    from aiohttp import ClientError as ConnectionTrouble
    from botocore import exceptions as of
    from botocore.parsers import ResponseParserError

    if response_of(error):
        code, status = code_of(error), status_of(error)
        if code in DAMAGED:
            return "checksum"
        return (code if code.isalpha() else f"HTTP {status}") if code in TRANSIENT or status in STATUSES else ""
    if isinstance(error, of.SSLError):
        return "" if re.search("CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER", str(error), re.IGNORECASE) else "connection"
    if "Cannot combine AUTHORIZATION" in str(error):
        return ""
    if isinstance(error, of.ConnectTimeoutError | of.ReadTimeoutError | TimeoutError):
        return "timeout"
    if isinstance(error, of.FlexibleChecksumError | of.ChecksumError):
        return "checksum"
    if isinstance(error, Nonsense | ResponseParserError):
        return "answer"
    trouble = (of.HTTPClientError, of.ConnectionError, of.IncompleteReadError, of.CredentialRetrievalError, ConnectionTrouble, ConnectionError)
    return "connection" if isinstance(error, trouble) else ""


def stale(error: BaseException, method: str) -> bool:
    """Whether credentials that are read anew may help. The answer to a HEAD has no body, so that 400 and 403 say no more than that."""
    from botocore.exceptions import CredentialRetrievalError

    return code_of(error) in STALE or isinstance(error, CredentialRetrievalError) or (method.startswith("head_") and status_of(error) in (400, 403))


def told(error: BaseException) -> str:
    """What the store or its client said, in one line."""
    given = response_of(error).get("Error", {})
    words = f"{given.get('Code', '')}: {given.get('Message', '')}".strip(": ") or str(error).strip() or type(error).__name__
    return words.splitlines()[0].rstrip(".")


def skew(error: BaseException) -> float:
    """Seconds by which this machine's clock is ahead of the store's, by its last answer; 0 where that says nothing."""
    date = response_of(error).get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    return ahead(date) if date else 0.0


def ahead(date: str) -> float:
    """Seconds by which this machine's clock is ahead of a Date header."""
    return (datetime.datetime.now(datetime.UTC) - email.utils.parsedate_to_datetime(date)).total_seconds()


def final(error: Exception, url: str, keeper: str) -> Exception:
    """The error to raise: a StoreError of one line with its remedy, or what came where it is an answer or a bug.

    keeper: where the credentials came from, as botocore calls it.
    """
    from botocore import exceptions as of

    code, status, words = code_of(error), status_of(error), told(error)
    whose = KEEPERS.get(keeper, keeper or "AWS's credential chain")
    if code in ANSWERS or (code == "" and isinstance(error, FileExistsError | FileNotFoundError)):
        return error
    if code in STALE or (status in (400, 403) and code in ("400", "ExpiredToken")):
        return Refused(f"{url}: the credentials from {whose} have expired or are unknown ({words}); renew them, and run the same command again")
    if code == "RequestTimeTooSkewed" or (status == 403 and abs(skew(error)) > 900):
        by = f"{abs(skew(error)):.0f} s {'ahead of' if skew(error) > 0 else 'behind'}" if skew(error) else "far from"
        return Refused(f"{url}: this machine's clock is {by} the store's ({code}); set it (timedatectl set-ntp true), and run the same command again")
    if "Invalid endpoint" in words or "Cannot combine AUTHORIZATION" in words:  # the second is aiohttp's, of a user and a password in it
        return ValueError(f"{url}: AWS_ENDPOINT_URL is not the address of a server; write it like http://HOST:PORT, without credentials")
    if code == "NoSuchBucket":
        return Refused(f"{url}: there is no such bucket; make it first, or choose another")
    if status in (301, 307) or code in ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"):
        headers = response_of(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = response_of(error).get("Error", {}).get("Region") or headers.get("x-amz-bucket-region") or "another region"
        return Refused(f"{url}: its bucket lies in {region} ({words}); set AWS_DEFAULT_REGION to that region")
    if status in (401, 403) or isinstance(error, PermissionError):
        return Refused(f"{url}: access was refused ({words}); check the credentials, from {whose}, and what they allow")
    if isinstance(error, of.NoCredentialsError | of.PartialCredentialsError | of.TokenRetrievalError | of.SSOError | of.CredentialRetrievalError):
        return Refused(f"{url}: there are no credentials ({words}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    if isinstance(error, of.SSLError):
        return Refused(f"{url}: no secure connection ({words}); check AWS_ENDPOINT_URL, and that AWS_CA_BUNDLE names the certificate's authority")
    if isinstance(error, of.ParamValidationError):
        return ValueError(f"{url}: is not the name of a bucket and an object ({str(error).splitlines()[-1].strip()}); correct it")
    if status or code or isinstance(error, of.BotoCoreError):
        return Away(f"{url}: the store failed ({words}); check its address and the network, then run the same command again")
    return error


def exhausted(error: Exception, url: str, seconds: float, tries: int) -> StoreError:
    """The error where all patience was in vain."""
    of = f"{tries} tries in {seconds:.0f} s" if tries > 1 else "one try"
    hint = "check AWS_ENDPOINT_URL and the network" if not response_of(error) else "the store is overloaded or ill"
    return Away(f"{url}: the store failed ({told(error)}), {of}; {hint}; run the same command again to go on")
