"""Who we are on Google Cloud: application default credentials, as google-auth finds them."""

from __future__ import annotations

import functools
import warnings

from google import auth
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.oauth2.credentials import Credentials as AccessToken

from gateway.errors import ConfigError

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def default_credentials(path: str | None) -> Credentials:
    """The credentials in the file, or those of gcloud or of the machine we run on. Raises ConfigError.

    Blocks: without a file the machine's metadata server is asked, which takes some seconds where there is none.
    """
    try:
        with warnings.catch_warnings():
            # It warns of files that come from strangers; this one is the operator's.
            warnings.simplefilter("ignore", DeprecationWarning)
            load = functools.partial(auth.load_credentials_from_file, path) if path else auth.default
            found, _ = load(scopes=SCOPES)
    except GoogleAuthError as exc:
        first = str(exc.args[0] if exc.args else exc).splitlines()[:1]
        raise ConfigError([" ".join([f"{path or 'Google credentials'}:", *first])]) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what google-auth makes of odd fields in a file
        raise ConfigError([f"{path or 'Google credentials'}: not usable"]) from None
    return found


def fixed_token(token: str) -> Credentials:
    """Credentials that never expire and ask nobody: for an emulator."""
    return AccessToken(token=token)  # type: ignore[no-untyped-call]
