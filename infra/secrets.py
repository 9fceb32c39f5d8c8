"""Secrets: refused where a person would leave them lying about, and left out of all that is written or shown.

They come from the environment, or from what a client reads itself (AWS's files and roles): never from flags, YAML or the user-info of a URL.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from infra import settings

PATTERNS = (
    (re.compile(r"(\w://)[^/\s\"'<>]*@"), r"\1***@"),  # user:password@host
    (re.compile(r"(?i)([?&;][\w.-]*(?:token|secret|passw|signature|credential|key|sig)[\w.-]*=)[^&\s\"'<>]*[^&\s\"'<>:]"), r"\1***"),  # signed URLs
    (re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]{8,}"), r"\1 ***"),
)
USER = re.compile(r"([\w+]+)://[^/\s\"'<>]+@([^/\s]*)")
NAMES = re.compile(r"(?i)(secret|passw|credential|api_?key|access_?key|private_?key|(auth|access|session|bearer|security)_?token)")
MLFLOW = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server of MLflow"
DATABASE = "set MLFLOW_TRACKING_URI in the environment"
REMEDIES = {"s3": "set AWS_ variables or a profile", "http": MLFLOW, "https": MLFLOW, "postgresql": DATABASE, "mysql": DATABASE, "mssql": DATABASE}


def redact(text: str) -> str:
    """The text without the user-info and the keys of its URLs, and without the secrets of this process's environment."""
    for secret in settings.secrets():
        for spelled in (secret, quote(secret, safe=""), quote(secret)):
            text = text.replace(spelled, "***")
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def refuse(text: str) -> str:
    """The text. ValueError, which does not repeat it, for a URL with a user or a password: it would get into records, logs and lists of processes."""
    for scheme, host in USER.findall(text):
        if scheme != "github":  # organisation:repository@branch
            remedy = REMEDIES.get(scheme.partition("+")[0], "set what its client reads in the environment")
            raise ValueError(f"{scheme}://***@{host}: credentials do not belong in a URL; {remedy}, and give {scheme}://{host}")
    return text


def refuse_all(fields: object, where: str = "") -> None:
    """As `refuse`, for the words of a command line or what a YAML file holds, and for names that a secret would have."""
    if isinstance(fields, dict):
        for name, value in fields.items():
            if NAMES.search(str(name).replace("-", "_")):
                raise ValueError(f"{where}{name}: secrets are not taken from flags or YAML; set them in the environment, as AWS_SECRET_ACCESS_KEY")
            refuse_all(value, where)
    elif isinstance(fields, list | tuple):
        for value in fields:
            refuse_all(value, where)
    else:
        refuse(str(fields))
