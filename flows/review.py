"""`attestrl review`: a page on this machine on which people judge what an evaluation put into the queue.

Only this machine is served, and only to who has the token that is printed at the start.
"""

import contextlib
import json
import secrets
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from flows import evaluation, listing
from governance.digest import write_atomic, write_json, write_jsonl
from governance.errors import BadInput
from tasks import argilla_records, label_studio_tasks, paths, pseudonyms
from tasks.pages import rendered
from tasks.review_store import CRITERIA, Item, ReviewStore

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
LONGEST = 100_000  # bytes of an answer


def queue() -> ReviewStore:
    """The project's queue."""
    return ReviewStore(paths.review_queue())


def fill(run_id: str) -> tuple[str, int]:
    """Put what a run's evaluation found into the queue; (run id, items that are new)."""
    run_id = listing.load(run_id)["run_id"]
    files = sorted((evaluation.folder_of(run_id) / "results").glob("*.json"))
    if not files:
        raise BadInput(f"{run_id}: was not evaluated; `attestrl evaluate {run_id}` fills the queue.")
    items = [item for f in files for item in json.loads(f.read_text(encoding="utf-8"))["review"]]
    return run_id, queue().add(run_id, items)


def export(folder: Path) -> dict[str, int]:
    """Write comparisons.jsonl, golden.jsonl and ratings.jsonl; rows of each."""
    written = dict(zip(("comparisons", "golden", "ratings"), queue().export(), strict=True))
    for name, rows in written.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    return {name: len(rows) for name, rows in written.items()}


def export_tasks(folder: Path, tool: str) -> dict[str, int]:
    """Write what is open for another tool, with that tool's settings; items of each kind."""
    kinds: dict[int, list[Item]] = {}
    for item in queue().open_items():
        kinds.setdefault(len(item.responses), []).append(item)
    for responses, items in kinds.items():
        name = f"{tool}-{responses}-responses" if responses > 1 else f"{tool}-1-response"
        if tool == "argilla":
            write_json(folder / f"{name}.json", argilla_records.records(items))
            write_json(folder / f"{name}-settings.json", argilla_records.settings(responses))
        else:
            write_json(folder / f"{name}.json", label_studio_tasks.tasks(items))
            write_atomic(folder / f"{name}.xml", label_studio_tasks.configuration(responses))
    return {f"of {n} responses": len(items) for n, items in sorted(kinds.items())}


def take_in(file: Path) -> int:
    """Answers of a file that Argilla or Label Studio exported; how many there are. People get their pseudonyms; an answer
    that is known already changes nothing. Raises BadInput, and keeps nothing, if one of them cannot be read or has no item."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{file}: there is no such file; name what Argilla or Label Studio exported.") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{file}: is not JSON in UTF-8; export the records or tasks as JSON.") from None
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        raise BadInput(f"{file}: holds no list of records or tasks; export them as JSON.")
    read = label_studio_tasks.answers if "data" in document[0] else argilla_records.answers
    key = pseudonyms.key()
    found = [replace(a, reviewer=pseudonyms.pseudonym(a.reviewer, key)) for a in read(document, file.name)]
    try:
        queue().take(found, file.stem)
    except BadInput as error:
        raise BadInput(f"{file.name}: {error}") from None
    return len(found)


def bound(port: int) -> socket.socket:
    """A port of this machine alone. Raises BadInput if it cannot be had."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not kept from us by a server that was just killed
    try:
        found.bind(("127.0.0.1", port))
    except OSError as error:
        found.close()
        raise BadInput(f"--port {port}: cannot be had ({error.strerror}); name another one.") from None
    return found


def serve(place: socket.socket, token: str) -> None:
    """Serve the page on a bound port until Ctrl-C."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(application(queue(), token), log_level="warning"))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[place])


def application(store: ReviewStore, token: str) -> Starlette:
    """The page. A visit with `?token=` sets a cookie that every other request must carry."""
    key = pseudonyms.key()

    def known(request: Request) -> bool:
        return secrets.compare_digest(request.cookies.get("attestrl_token", "").encode(), token.encode())

    def page(status: int = 200, **facts: Any) -> HTMLResponse:
        every = {"item": None, "message": "", "reviewer": "", "done": 0, "left": 0, "criteria": CRITERIA, "now": 0.0}
        return HTMLResponse(rendered("review.html.j2", **(every | facts)), status, headers=HEADERS)

    def enter(request: Request) -> Response:
        given = request.query_params.get("token", "")
        if secrets.compare_digest(given.encode(), token.encode()):
            response: Response = RedirectResponse("/", 303)
            response.set_cookie("attestrl_token", token, httponly=True, samesite="strict")
            response.set_cookie("attestrl_session", secrets.token_hex(8), httponly=True, samesite="strict")
            return response
        if not known(request):
            return page(403, message="Open the address that `attestrl review` printed: it holds the token.")
        return _item(request)

    def _item(request: Request, message: str = "", status: int = 200) -> Response:
        reviewer = request.cookies.get("attestrl_reviewer", "")
        if not reviewer:
            return page()
        now = time.time()
        item, (done, left) = store.next(reviewer, now), store.progress(reviewer)
        return page(status, item=item, reviewer=reviewer, done=done, left=left, now=now, message=message)

    async def name(request: Request) -> Response:
        form = await _form(request)
        if not known(request):
            return page(403, message="This page is open only to who has the token.")
        response = RedirectResponse("/", 303)
        if who := form.get("name", "").strip():  # people are kept by pseudonym alone
            response.set_cookie("attestrl_reviewer", pseudonyms.pseudonym(who, key), httponly=True, samesite="strict")
        return response

    async def answer(request: Request) -> Response:
        form = await _form(request)
        reviewer = request.cookies.get("attestrl_reviewer", "")
        if not known(request) or not reviewer:
            return page(403, message="This page is open only to who has the token.")
        try:
            session = request.cookies.get("attestrl_session", "")
            store.answer(form.get("item", ""), reviewer, session, _answer(form))
        except BadInput as error:
            return _item(request, str(error), 400)
        return RedirectResponse("/", 303)

    routes = [Route("/", enter), Route("/name", name, methods=["POST"]), Route("/answer", answer, methods=["POST"])]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=routes, middleware=[hosts])


async def _form(request: Request) -> dict[str, str]:
    """Fields of a form. An answer too long is cut off, and so refused."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            return {}
    return {k: v[-1] for k, v in parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True).items()}


def _answer(form: dict[str, str]) -> dict[str, Any]:
    """What a form says. `place_k`: the place given to the response that was shown in place k."""
    try:
        order = [int(i) for i in form.get("order", "").split(",") if i]
        places = [form.get(f"place_{k}", "") for k in range(len(order))]
        decided = len(order) > 1 and "undecided" not in form
        given = {int(p): order[k] for k, p in enumerate(places)} if decided else {}
        ratings = {c: int(form[c]) if form.get(c) else None for c in CRITERIA}
        seconds = round(time.time() - float(form["since"]), 1)
    except (ValueError, KeyError):
        raise BadInput("give every response a place, or say that you cannot decide.") from None
    ranking = [given[p] for p in sorted(given)] if decided else None
    reason = form.get("reason", "").strip()
    return {"ranking": ranking, "shown_order": order, "ratings": ratings, "reason": reason, "seconds": seconds}
