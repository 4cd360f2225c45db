"""Who may use the page: the token, the Host and Origin headers, and the headers that keep a browser to the rules."""

from __future__ import annotations

import html
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamseg.errors import ConfigError

MIN_TOKEN_LENGTH = 16
PAGES = ("/", "/obs")
"""Paths that a person opens: the token moves from their address into a cookie."""

BEARER = "bearer "
TRUSTED_SITES = ("same-origin", "none", "")
"""Values of Sec-Fetch-Site of requests by our own page, by the user, and by other programs."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}

LOCKED_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>streamseg: locked</title><link rel="stylesheet" href="/style.css"></head>
<body class="locked"><main>
<h1>This page is locked</h1>
<p>Open the address that streamseg printed when it started, with the token at its end, or enter the token here.</p>
<form action="{path}" method="get">
<label for="token">Token</label>
<input id="token" name="token" type="password" required autocomplete="off" autofocus>
<button type="submit">Open</button>
</form></main></body></html>
"""


class Gate:
    """Middleware that lets through those who know the token, from our own page, from other programs or from OBS."""

    def __init__(self, app: ASGIApp, token: str, host: str, port: int, public: frozenset[str]) -> None:
        """Guard an application.

        Args:
            app: answers the requests that pass.
            token: what the page's address ends with.
            host: name or address that is served, which the Host header may have.
            port: names the cookie: cookies of two ports of one host are not kept apart.
            public: paths that need no token, such as the style sheet of the locked page.
        """
        self._app, self._token, self._public = app, token.encode(), public
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        self._cookie = f"streamseg_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        request = Request(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        response = self._answer(request) or self._app
        await response(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """Return the refusal or redirect that a request gets, or None if it passes."""
        if not self._is_our_host(request.headers.get("host", "")):
            return refusal(403, "this server answers under its own name or address only")
        if not self._is_our_origin(request):
            return refusal(403, "requests from other sites are refused")
        given = request.query_params.get("token")
        if given is not None and self._fits(given) and request.url.path in PAGES and request.method == "GET":
            return self._redirect(request)
        if request.url.path in self._public or any(map(self._fits, self._tokens(request))):
            return None
        if request.url.path in PAGES:
            return HTMLResponse(LOCKED_PAGE.format(path=html.escape(request.url.path)), 401)
        return refusal(401, "the token is missing or wrong: it is in the address that streamseg printed")

    def _tokens(self, request: Request) -> list[str]:
        """Return the tokens in the address, in the Authorization header and in the cookie."""
        authorization = request.headers.get("authorization", "")
        bearer = authorization[len(BEARER) :] if authorization.lower().startswith(BEARER) else ""
        return [request.query_params.get("token", ""), bearer, self._cookie_of(request)]

    def _cookie_of(self, request: Request) -> str:
        try:
            cookie = SimpleCookie(request.headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    def _fits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode("utf-8", "surrogateescape"), self._token)

    def _redirect(self, request: Request) -> Response:
        """Move the token from the address into a cookie that scripts and other sites do not see."""
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        response = RedirectResponse(f"{request.url.path}{'?' if rest else ''}{urlencode(rest)}", 303)
        response.set_cookie(self._cookie, self._token.decode(), httponly=True, samesite="strict", path="/")
        return response

    def _is_our_host(self, host: str) -> bool:
        """Return whether a Host header names this server; a name that someone else pointed here (rebinding) does not.

        Addresses pass: who asks for an address talks to that address.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or name.removesuffix(".local") in self._names or _is_address(name)

    @staticmethod
    def _is_our_origin(request: Request) -> bool:
        """Return whether a request comes from our own page, from another program, or is a link that was followed."""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "")
        if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
            return False
        is_link = request.headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
        return site in TRUSTED_SITES or (is_link and request.url.path in PAGES)


def new_token() -> str:
    """Make a token at random."""
    return secrets.token_urlsafe(24)


def check_token(token: str) -> str:
    """Return a token that the user chose, if it is fit for one.

    Raises:
        ConfigError: it is too short, or has characters that an address or a cookie cannot hold.
    """
    if len(token) < MIN_TOKEN_LENGTH or not all(one.isascii() and (one.isalnum() or one in "-_") for one in token):
        raise ConfigError(
            f"a token has at least {MIN_TOKEN_LENGTH} characters, all of them letters, digits, - or _; "
            f"got {len(token)} characters"
        )
    return token


def refusal(status: int, message: str) -> JSONResponse:
    """Return an answer of one line that says why a request was not done."""
    return JSONResponse({"error": message}, status)


def _is_address(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
