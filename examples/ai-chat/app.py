"""A chat whose answers survive what happens to pages and connections. No stream passes through here: Caddy serves those.

    uvicorn app:app --port 8000
"""
from pathlib import Path

import redis.asyncio as redis
from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

import models
import store
import writer

HERE = Path(__file__).parent
COOKIE = "chat_session"
YEAR = 365 * 24 * 3600  # seconds that a session lasts

# All that the page loads is from here. It has no inline script or style, so that markup which got into it would do nothing.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",  # a chat's URL is nobody else's business
    "X-Content-Type-Options": "nosniff",
}

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
app.mount("/static", StaticFiles(directory=HERE / "static"))


class Question(BaseModel):
    question: str = Field(min_length=1, max_length=20_000)
    model: str = models.NAMES[0]


class Link(BaseModel):
    token: str


def owner(chat_session: str = Cookie("")) -> str | None:
    return store.owner_of(chat_session)


def own_chat(chat: str, owner: str | None = Depends(owner)) -> str:
    if owner is None or store.title_of(owner, chat) is None:
        raise HTTPException(404)
    return chat


@app.exception_handler(redis.RedisError)
@app.exception_handler(writer.Overloaded)
async def not_now(request: Request, err: Exception) -> Response:
    writer.log.warning("%s %s: %r", request.method, request.url.path, err)
    return Response(status_code=503)


@app.middleware("http")
async def own_pages_only(request: Request, call_next) -> Response:
    # Browsers say so of what another site's page has them send. Such a request has no cookie, but it costs an answer.
    foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
    if foreign and request.method not in ("GET", "HEAD"):
        return Response(status_code=403)
    response = await call_next(request)
    response.headers.update(PAGE_HEADERS)
    response.headers["Cache-Control"] = "no-store" if request.url.path.startswith("/api/") else "no-cache"
    return response


@app.get("/")
@app.get("/chats/{chat}")
async def page():
    return FileResponse(HERE / "static" / "index.html")


@app.get("/auth/chats/{chat}")
async def may_listen(chat: str = Depends(own_chat)):
    """Caddy asks before it opens a stream (forward_auth)."""
    return Response(status_code=204)


@app.get("/api/models")
async def model_names():
    return models.NAMES


@app.get("/api/chats")
async def chats(owner: str | None = Depends(owner)):
    return store.chats_of(owner) if owner else []


@app.post("/api/chats", status_code=201)
async def start_chat(asked: Question, request: Request, response: Response, owner: str | None = Depends(owner)):
    if owner is None:
        owner = store.new_owner()
        sign_in(request, response, owner)
    chat = store.add_chat(owner, " ".join(asked.question.split())[:80])
    try:
        await answer(chat, asked)
    except BaseException:
        store.delete_chat(chat)
        raise
    return {"id": chat}


@app.get("/api/chats/{chat}")
async def chat(chat: str = Depends(own_chat), owner: str = Depends(owner)):
    """What the page fetches when its stream opens, after a gap, and when an answer has ended. held: nothing can arrive now."""
    held, at_work = False, store.in_the_works(chat)
    if at_work is not None:
        try:
            if await writer.is_lost(at_work):
                await writer.end_lost(chat, at_work)
        except redis.RedisError:
            held = True
    return {"title": store.title_of(owner, chat), "answers": store.answers_of(chat), "held": held}


@app.delete("/api/chats/{chat}", status_code=204)
async def delete(chat: str = Depends(own_chat)):
    if (at_work := store.in_the_works(chat)) is not None:
        await writer.ask(at_work, "stop")
    store.delete_chat(chat)
    return Response(status_code=204)


@app.post("/api/chats/{chat}/questions", status_code=202)
async def question(asked: Question, chat: str = Depends(own_chat)):
    return {"id": await answer(chat, asked)}


@app.post("/api/chats/{chat}/stop", status_code=202)
async def stop(chat: str = Depends(own_chat)):
    return await ask(chat, "stop")


@app.post("/api/chats/{chat}/again", status_code=202)
async def again(chat: str = Depends(own_chat)):
    """Has the worker tell all of the answer again, in the stream: what a gap has cost is mended in all tabs."""
    return await ask(chat, "again")


async def ask(chat: str, what: str):
    if (at_work := store.in_the_works(chat)) is not None:
        await writer.ask(at_work, what)
    return {}


async def answer(chat: str, asked: Question) -> int:
    if asked.model not in models.NAMES:
        raise HTTPException(422, "There is no such model.")
    try:
        begun = store.begin(chat, asked.question, asked.model)
    except store.Busy:
        raise HTTPException(409, "An answer is being written.")
    try:
        await writer.begin(chat, begun, asked.question, asked.model)
    except BaseException:
        store.forget(begun)  # nobody may hear of it: it was not asked, and the page says so
        raise
    return begun


@app.post("/api/links", status_code=201)
async def link(owner: str | None = Depends(owner)):
    """A link that makes another device see the same chats, once."""
    if owner is None:
        raise HTTPException(404)
    return {"token": store.add_link(owner), "seconds": store.LINK_TIME}


@app.post("/api/links/use", status_code=204)
async def use_link(used: Link, request: Request):
    if (owner := store.use_link(used.token)) is None:
        raise HTTPException(404)
    response = Response(status_code=204)
    sign_in(request, response, owner)
    return response


def sign_in(request: Request, response: Response, owner: str) -> None:
    secure = request.url.scheme == "https"  # what Caddy says of the visitor's connection
    # Lax: another site's page cannot have its visitor's browser POST anything with it.
    response.set_cookie(COOKIE, store.add_session(owner), max_age=YEAR, httponly=True, samesite="lax", secure=secure)


@app.on_event("shutdown")
async def shut_down():
    await writer.shut_down()
