"""Why a request has no answer, and how that is said in HTTP."""

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="the reason, one word")
    message: str = Field(description="what was found")


class RefusedError(Exception):
    """A request has no answer.

    Args:
      status: of HTTP.
      error: the reason, one word.
      message: what was found.
      headers: more for the answer.
    """

    def __init__(self, status: int, error: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(f"{status} {error}: {message}")
        self.status, self.error, self.message, self.headers = status, error, message, headers


def problem(status: int, error: str, message: str, headers: Any = None) -> JSONResponse:
    """Return the answer that says why there is no other."""
    return JSONResponse(Problem(error=error, message=message).model_dump(), status, headers)
