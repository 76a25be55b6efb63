"""The usual way to stream a Redis channel to browsers: what it costs, and what it loses, is in README.md.

    uvicorn before:app --port 8000
    curl -N 'http://localhost:8000/events?channel=news'
    redis-cli PUBLISH news '{"done":0.5}'
"""
import os

import redis.asyncio as redis
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
client = redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), decode_responses=True)


async def stream(channel: str):
    # A subscribed connection can do nothing else, so each open tab takes one of its own.
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)
        while True:
            message = await pubsub.get_message(timeout=15)
            yield f"data: {message['data']}\n\n" if message else ": keep-alive\n\n"


@app.get("/events")
async def events(channel: str = "news"):
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(channel), media_type="text/event-stream", headers=headers)
