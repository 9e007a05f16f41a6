"""The API's bearer token and what is derived from it: the UI's session cookie and its forms' token.

One token a deployment: whoever holds it may do everything. It is compared in constant time and never logged.
"""

import hashlib
import hmac
import secrets
from pathlib import Path

from core.settings import Settings

KEPT_IN = "token"


def api_token(settings: Settings) -> str:
    """Return the set token, else the one kept in the state directory, made where there is none."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    file = settings.state_dir / KEPT_IN
    return _kept(file) or _made(file)


def known_token(settings: Settings) -> str | None:
    """Return the token where one is set or kept; make none."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    return _kept(settings.state_dir / KEPT_IN)


def _kept(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except FileNotFoundError:
        return None


def _made(file: Path) -> str:
    """Make a token; where two processes do so at once, the first one's is kept."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{KEPT_IN}-{secrets.token_hex(6)}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(24))
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return file.read_text().strip()


def derived(token: str, purpose: str) -> str:
    """Return a secret for one purpose, from which the token can't be found."""
    return hmac.new(token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
