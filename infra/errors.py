"""Errors are an interface: each carries the exit code of its class and reads as one line (the thing, the reason, the remedy)."""

from __future__ import annotations

OK, BUG, BAD_INPUT, PARTIAL, INFRASTRUCTURE, INTEGRITY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
CLIENTS = ("aiobotocore", "aiohttp", "botocore")  # their errors are not OSErrors, and are about the way to a store


class StoreError(OSError):
    """The store cannot be read or written; nothing finished is lost, and the same command continues."""

    exit_code = INFRASTRUCTURE
    retry = True


class Away(StoreError):
    """A remote store fails, and all patience with it was in vain: whatever else is asked of it now will most likely fail as well."""


class Refused(StoreError, PermissionError):
    """The store refuses who asks, and will as long as nobody changes something: credentials, permissions, a clock, a bucket's name."""

    retry = False


class Forbidden(Exception):
    """An address that a URL of a user must not lead to."""

    exit_code = INTEGRITY


class IntegrityError(Exception):
    """A store holds what it should not: bytes unlike their digest, or a format that this version does not read."""

    exit_code = INTEGRITY


class Unreached(ConnectionError):
    """There is no cluster that can be joined; why, and what to do, in a line."""


class BackendLost(Exception):
    """The processes that execute went away; what was recorded stays recorded."""

    exit_code = INFRASTRUCTURE


class Maps(BaseException):
    """Raised by `run.map` where the component holds the resources that its items need: it is to be begun anew without them."""


class Stopped(BaseException):
    """Raised inside a component whose run was told to stop, after its training state was saved."""


class Left(BaseException):
    """Raised inside a component whose process was given notice, after its training state was saved."""


def exit_code_of(error: BaseException) -> int:
    """The class of an error: its own `exit_code`, 2 for ValueError, 4 for OSError or a store's client, 130 for an interrupt, 1 for a bug of ours."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    if isinstance(error, KeyboardInterrupt | Stopped):
        return INTERRUPTED
    if isinstance(error, OSError | MemoryError) or type(error).__module__.partition(".")[0] in CLIENTS:
        return INFRASTRUCTURE
    return BAD_INPUT if isinstance(error, ValueError) else BUG
