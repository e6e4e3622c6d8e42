"""The paths of the service, and their OpenAPI schema. Annotations are evaluated: FastAPI reads them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pairsim._common import storage, unit_similarity
from pairsim._common.numbers import similarity_threshold
from pairsim.errors import ImageReadError, is_out_of_memory, printable, require
from pairsim.images import PictureFile
from pairsim.integrations.service.answers import (
    Changed,
    Compared,
    Encoded,
    Enrolled,
    Health,
    Identifications,
    Identified,
    PoorQuality,
    Problem,
)
from pairsim.integrations.service.batching import Full
from pairsim.integrations.service.uploads import Form, Rejected, known_fields
from pairsim.models.verdict import verdict_on

if TYPE_CHECKING:
    from pairsim.integrations.service.http_service import Service

PATHS = ("/compare", "/encode", "/identify", "/enrol", "/gallery", "/health", "/metrics", "/openapi.json")
_FILE = {"type": "string", "format": "binary"}
_FILES = {"type": "array", "items": _FILE, "minItems": 1}
_THRESHOLD = {"type": "number", "minimum": -1, "maximum": 1}
_MAX_ID = 1000
_TEXT = {"type": "string", "minLength": 1, "maxLength": _MAX_ID}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_ALWAYS = (401, 403)
_OF_FORMS = (400, 408, 413, 415, 422, 503)
_AGAIN_S = "1"
_Name = TypeVar("_Name", str, str | int | None)


def make_app(service: "Service", version: str) -> tuple[Any, dict[str, Callable[[Any], Awaitable[Any]]]]:
    """Make the application.

    Args:
        service: What it answers with.
        version: Of pairsim.

    Returns:
        A `fastapi.FastAPI`, without the check of who may use it; and by path its functions that take a POST request of
        Starlette and return the response. Called directly, they take half the time.

    Raises:
        MissingExtraError: If FastAPI is not installed.
    """
    require("fastapi", extra="serve", purpose="The service")
    from fastapi import FastAPI, Query, Request, Response
    from fastapi.exceptions import RequestValidationError
    from pydantic_core import to_json
    from starlette.exceptions import HTTPException

    app = FastAPI(
        title="pairsim",
        version=version,
        description="Similarity of pictures: compare two, embed, and identify against a gallery.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a proxy's scheme and name are not known here
    )

    def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Any:
        content = to_json(value, inf_nan_mode="null") + b"\n"  # for terminals
        return Response(content, status, headers=headers, media_type="application/json")

    def problem(status: int, detail: str) -> Any:
        return answer(Problem(detail), status, {"Retry-After": _AGAIN_S} if status == 503 else None)

    async def with_form(request: Any, work: Callable[[Form], Awaitable[object]]) -> Any:
        """Read the form of a request, answer it, and give back its memory."""
        try:
            _check_no_parameters(request.query_params)
            form, size = await service.uploads.read(request)
            try:
                return answer(await work(form))
            finally:
                service.uploads.release(size)
        except Rejected as error:
            return problem(error.status, error.detail)
        except ImageReadError as error:
            return problem(422, str(error))
        except Full:
            return problem(503, "Expected fewer requests at once, found all places taken. Send it again later.")
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return problem(503, "Expected enough memory for the pictures, found too little. Send smaller ones.")

    async def compare(request: Request) -> Any:
        """Compare two pictures."""

        async def work(form: Form) -> Compared:
            known_fields(form, ("first", "second"), ("threshold",))
            threshold = _threshold(form)
            pictures = [*form.pictures("first", 1), *form.pictures("second", 1)]
            first, second = (await service.batcher.embed(pictures)).to(service.model.device).split(1)
            verdict = verdict_on(service.model, unit_similarity.similarity(first, second), threshold)
            return Compared(**{one.name: getattr(verdict, one.name) for one in fields(Compared)})

        return await with_form(request, work)

    async def encode(request: Request) -> Any:
        """Compute the embeddings of pictures."""

        async def work(form: Form) -> object:
            known_fields(form, ("pictures",), ())
            return {"embeddings": (await service.batcher.embed(form.pictures("pictures"))).tolist()}

        return await with_form(request, work)

    async def identify(request: Request) -> Any:
        """Identify each picture as one of the gallery's identities, or as none of these."""

        async def work(form: Form) -> Identifications:
            keeper = service.gallery()
            known_fields(form, ("pictures",), ("threshold",))
            threshold = _threshold(form)
            embeddings = await service.batcher.embed(form.pictures("pictures"))
            found = await keeper.identify(embeddings, threshold)
            names = [one.name for one in fields(Identified)]
            values = ({name: getattr(one, name) for name in names} for one in found)
            return Identifications([Identified(**{**one, "id": _as_utf_8(one["id"])}) for one in values])

        return await with_form(request, work)

    async def enrol(request: Request) -> Any:
        """Add pictures to the gallery, each with an id, and all of one identity if one is given."""

        async def work(form: Form) -> Enrolled:
            keeper = service.gallery()
            known_fields(form, ("pictures",), ("ids", "identity"))
            pictures, ids, identity = form.pictures("pictures"), form.values.get("ids", []), form.one("identity")
            _check_ids(ids, pictures, identity)
            embeddings, flaws = await service.batcher.embed_measured(pictures)
            await keeper.enrol(embeddings, ids, identity)
            poor = [PoorQuality(name, [*found]) for name, found in zip(ids, flaws, strict=True) if found]
            return Enrolled(ids, len(keeper), poor)

        return await with_form(request, work)

    async def remove(request: Request, id: Annotated[str, Query(min_length=1, max_length=_MAX_ID)]) -> Any:
        """Remove a picture from the gallery by its id, or an identity with all of its pictures.

        Where a name is both, ./NAME is the picture alone, and NAME/ the identity.
        """
        try:
            if len(request.query_params.multi_items()) > 1:
                raise Rejected(422, "Expected one parameter, id, once, got more. Send a request for each.")
            keeper = service.gallery()
            removed = await keeper.remove([id])
            return answer(Changed([*map(_as_utf_8, removed)], len(keeper)))
        except Rejected as error:
            return problem(error.status, error.detail)
        except Full:
            return problem(503, "Expected fewer requests at once, found all places taken. Send it again later.")

    async def health() -> Any:
        """Tell whether the service works; this needs no token."""
        broken = service.problem()
        return answer(Health("ok")) if broken is None else problem(503, broken)

    async def metrics() -> Any:
        """Give figures for Prometheus."""
        return Response(service.metrics.text(), headers={"Content-Type": service.metrics.content_type})

    forms: dict[Any, tuple[type, dict[str, Any], tuple[str, ...], tuple[int, ...]]] = {
        compare: (Compared, {"first": _FILE, "second": _FILE, "threshold": _THRESHOLD}, ("first", "second"), ()),
        encode: (Encoded, {"pictures": _FILES}, ("pictures",), ()),
        identify: (Identifications, {"pictures": _FILES, "threshold": _THRESHOLD}, ("pictures",), (404, 409)),
        enrol: (Enrolled, {"pictures": _FILES, "ids": _TEXTS, "identity": _TEXT}, ("pictures", "ids"), (404, 409)),
    }
    for endpoint, (model, properties, required, others) in forms.items():
        app.add_api_route(
            f"/{endpoint.__name__}",
            endpoint,
            methods=["POST"],
            response_model=model,
            responses=_problems(*_ALWAYS, *_OF_FORMS, *others),
            openapi_extra={"requestBody": _form_schema(properties, required)},
        )
    app.add_api_route(
        "/gallery",
        remove,
        methods=["DELETE"],
        response_model=Changed,
        responses=_problems(*_ALWAYS, 404, 409, 422, 503),
    )
    app.add_api_route(
        "/health",
        health,
        methods=["GET"],
        response_model=Health,
        responses=_problems(503),
        openapi_extra={"security": []},
    )
    app.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_problems(*_ALWAYS)},
    )

    async def wrong_request(_: Any, error: Any) -> Any:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return problem(422, f"Expected a valid value for {place}, but: {first['msg']}.")

    async def wrong_path(request: Any, error: Any) -> Any:
        if error.status_code == 405:
            allowed = error.headers["Allow"]
            text = f"Expected {allowed} of {request.url.path}, found {request.method}. Send {allowed}."
        else:
            text = f"Expected one of the paths {', '.join(PATHS)}, found another. See /openapi.json."
        found = answer(Problem(text), error.status_code, error.headers)
        return found

    def schema() -> Any:
        found = FastAPI.openapi(app)
        if service.has_token:
            found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}]
        return found

    app.openapi = schema  # type: ignore[method-assign]
    app.add_exception_handler(RequestValidationError, wrong_request)
    app.add_exception_handler(HTTPException, wrong_path)
    return app, {f"/{endpoint.__name__}": endpoint for endpoint in forms}


def _as_utf_8(name: _Name) -> _Name:
    r"""Return an id with bytes that are not UTF-8, as a file's name may have, as escapes, such as `\\udce9`."""
    return storage.encoded(name).decode() if isinstance(name, str) else name


def _form_schema(properties: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem} for status in statuses}


def _check_no_parameters(given: Mapping[str, str]) -> None:
    if given:
        name = printable(next(iter(given))[:80])
        raise Rejected(422, f"Expected no parameters in the address, got {name!r}. Send it as a field of the form.")


def _threshold(form: Form) -> float | None:
    text = form.one("threshold")
    if text is None:
        return None
    try:
        if "_" in text or not text.isascii():  # Python's own ways to write a number
            raise ValueError
        return similarity_threshold(float(text))
    except (TypeError, ValueError):
        raise Rejected(422, f"Expected threshold as a similarity in [-1, 1], got {text[:80]!r}.") from None


def _check_ids(ids: Sequence[str], pictures: Sequence[PictureFile], identity: str | None) -> None:
    if len(ids) != len(pictures):
        raise Rejected(
            422,
            f"Expected one id for each picture, got {len(ids)} for {len(pictures)}. Send the field ids as often as the "
            "field pictures.",
        )
    if len(set(ids)) < len(ids):
        raise Rejected(422, "Expected each id once, got one twice. Give every picture its own.")
    for text in [*ids, *([] if identity is None else [identity])]:
        if not 0 < len(text) <= _MAX_ID:
            raise Rejected(422, f"Expected ids of 1 to {_MAX_ID} characters, got {len(text)}. Use another.")
