"""The token endpoint that a service account's key file names as ``token_uri``: so a connection with a key works here, too."""

from __future__ import annotations

import logging
import secrets

from aiohttp import web

from gcp_dicom_emulator.rest.endpoints import Endpoint

_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME = 3600

log = logging.getLogger(__name__)


async def _token(request: web.Request) -> web.Response:
    """Answer with an access token. The emulator has no accounts: it does not check the assertion, and takes any token or none."""
    form = await request.post()
    if form.get("grant_type") != _GRANT_TYPE or not form.get("assertion"):
        error = {"error": "unsupported_grant_type", "error_description": f"POST grant_type={_GRANT_TYPE} and an assertion."}
        return web.json_response(error, status=400)
    log.info("200 POST %s: issued an access token", request.path)
    return web.json_response({"access_token": secrets.token_urlsafe(24), "expires_in": _LIFETIME, "token_type": "Bearer"})


#: The path of ``https://oauth2.googleapis.com/token``, and that of ``https://www.googleapis.com``, which Google's Node client uses.
TOKENS = [Endpoint("POST", path, _token) for path in ("/token", "/oauth2/v4/token")]
