"""Jobs whose progress is PUBLISHed to Redis. No stream passes through here: Caddy serves those (Caddyfile).

    uvicorn app:app --port 8000
    curl -X POST http://localhost:8088/jobs
    curl -N http://localhost:8088/jobs/<id>/events
"""
import asyncio
import json
import logging
import os
import uuid
from pathlib import Path

import redis.asyncio as redis
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse

PAGES = int(os.environ.get("JOB_PAGES", "20"))
PAUSE = float(os.environ.get("JOB_PAUSE", "0.5"))  # seconds a page

app = FastAPI()
log = logging.getLogger("uvicorn.error")
client = redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), socket_timeout=5)
jobs: dict[str, dict] = {}  # a table of your database, in a real app
workers: set[asyncio.Task] = set()  # asyncio itself keeps no task alive


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("index.html"))


@app.post("/jobs", status_code=202)
async def start(response: Response):
    job_id = uuid.uuid4().hex  # nobody guesses it: whoever knows it may read the stream
    jobs[job_id] = {"n": 0, "done": 0, "state": "running", "text": "Waiting for a worker"}
    # A task and not a thread, since this work only waits. What computes belongs into a process of its own (Celery, RQ, ...), and
    # publishes in the same way: to the page it makes no difference who does.
    task = asyncio.create_task(work(job_id))
    workers.add(task)
    task.add_done_callback(workers.discard)
    response.headers["Location"] = f"/jobs/{job_id}"
    return {"id": job_id}


@app.get("/jobs/{job_id}")
async def state(job_id: str):
    """What the page fetches when it opens, and after a gap."""
    if job_id not in jobs:
        raise HTTPException(404)
    return jobs[job_id]


async def work(job_id: str):
    for number in range(1, PAGES + 1):
        await asyncio.sleep(PAUSE)  # the work itself
        await tell(job_id, done=round(number / PAGES, 3), text=f"Page {number} of {PAGES} converted")
    await tell(job_id, state="finished", text=f"All {PAGES} pages converted")


async def tell(job_id: str, **change):
    """Changes a job and publishes all of it. n tells the page which of two states is the newer one."""
    job = jobs[job_id]
    # Before the message: who is told of a gap must find here what was published before.
    job.update(change, n=job["n"] + 1)
    while True:
        try:
            await client.publish(f"job:{job_id}", json.dumps(job))
            return
        except redis.RedisError as err:
            log.warning("publishing to job:%s: %s", job_id, err)
        if job["state"] == "running":
            return  # the next message says it all; the last one has none after it
        await asyncio.sleep(1)
