"""Refusals: what a client did wrong, as an HTTP status and one line."""

from __future__ import annotations


class Refused(Exception):
    """A request is not done.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
