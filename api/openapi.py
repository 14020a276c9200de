"""`/openapi.json`: the document that describes the API; it is made of `schemas/openapi/` and the types in `schemas/`."""

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response


@cache
def openapi_document() -> bytes:
    """The document as JSON, as `schemas.generate` made it."""
    return files("schemas").joinpath("json", "openapi.json").read_bytes()


async def get_openapi(request: Request) -> Response:
    """The endpoint: as JSON."""
    return Response(openapi_document(), media_type="application/json")


async def get_openapi_yaml(request: Request) -> Response:
    """The endpoint: the same as YAML."""
    return Response(files("schemas").joinpath("openapi.yaml").read_bytes(), media_type="application/yaml")
