"""The worker: has a model write an answer, and PUBLISHes it as it grows on the channel chat:<id>.

    {"answer": 7, "question": "...", "model": "..."}    an answer begins
    {"answer": 7, "text": "and so"}                     goes on
    {"answer": 7, "whole": "all of it, and so"}         its whole text so far, in place of what there was
    [DONE]                                              it has ended, and is stored

It runs as a task of the app, since it only waits. In a process of its own it would do just the same: what others ask of it, they
ask by keys in Redis.
"""
import asyncio
import json
import logging
import os

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

import models
import store

ALIVE = 10  # seconds after which an answer whose worker has said nothing is taken for lost
LOOK = 0.25  # seconds between two looks at what is asked of a worker
AGAIN = 0.5  # seconds until a PUBLISH that failed is tried again
END_TRIES = 600  # how often the end is told until somebody takes it: five minutes, and more if Redis answers late
MOST = int(os.environ.get("CHAT_MOST", "100"))  # answers of this process in the works at a time; more are refused with a 503
LONGEST = 200_000  # characters: an answer is one message of Redis when it is told as a whole, and Caddy takes 1 MiB

log = logging.getLogger("uvicorn.error")
URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
# What is sent again after a timeout, as redis-py does from version 6 on, can be a piece twice.
client = redis.from_url(URL, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0))
writers: dict[int, "Writer"] = {}  # by answer: those of this process


def channel_of(chat: str) -> str:
    return f"chat:{chat}"


class Overloaded(Exception):
    """MOST answers are in the works."""


async def begin(chat: str, answer: int, question: str, model: str) -> None:
    """Tells of the question before anybody can ask for the answer: who comes from here on gets it from its beginning."""
    if len(writers) >= MOST:
        raise Overloaded
    beginning = {"answer": answer, "question": question, "model": model}
    await client.publish(channel_of(chat), json.dumps(beginning))
    writer = writers[answer] = Writer(chat, answer, model)
    writer.task = asyncio.create_task(writer.run())
    writer.task.add_done_callback(lambda _: writers.pop(answer, None))


async def ask(answer: int, what: str) -> None:
    """Asks the worker of an answer to "stop", or to tell it "again"; it knows within LOOK."""
    await client.set(f"ask:{answer}", what, ex=60)


async def is_lost(answer: int) -> bool:
    """Whether nobody writes an answer any more that is not finished: its worker was killed. Asks Redis in any case."""
    return not await client.exists(f"alive:{answer}") and answer not in writers


async def end_lost(chat: str, answer: int) -> None:
    if store.give_up(answer, "The answer was interrupted."):
        await client.publish(channel_of(chat), "[DONE]")


async def shut_down() -> None:
    """Ends all answers of this process with what there is of them."""
    for writer in list(writers.values()):
        writer.stop("failed", "The answer was interrupted.")
    if tasks := [writer.task for writer in writers.values()]:
        _, late = await asyncio.wait(tasks, timeout=5)
        for task in late:
            task.cancel()


class Writer:
    def __init__(self, chat: str, answer: int, model: str):
        self.chat, self.answer, self.model = chat, answer, model
        self.text = ""
        self.told = 0  # characters of it that were published
        self.state, self.error = "finished", ""
        self.ended = False
        self.whole = False  # what is published next is the whole text: something of it may not have arrived
        self.more = asyncio.Event()  # there is something to publish
        self.task = self.writing = None

    async def run(self) -> None:
        # Two tasks: a Redis that does not answer holds the model up in nothing, and is told in one piece what came meanwhile.
        publishing = asyncio.create_task(self.publish())
        watching = asyncio.create_task(self.watch())
        self.writing = asyncio.create_task(self.write())
        await asyncio.wait([self.writing])
        watching.cancel()
        # Before it is told: who hears of the end looks here.
        store.finish(self.answer, self.state, self.text, self.error)
        self.ended = True
        self.more.set()
        await asyncio.gather(watching, publishing, return_exceptions=True)

    def stop(self, state: str = "stopped", error: str = "") -> None:
        if not self.writing.done():
            self.state, self.error = state, error
            self.writing.cancel()

    async def write(self) -> None:
        try:
            async for piece in models.write(self.model, self.conversation()):
                self.text += piece
                self.more.set()
                if len(self.text) > LONGEST:
                    raise models.ModelError("The answer is too long.")
        except models.ModelError as err:
            self.state, self.error = "failed", str(err)
        except Exception:
            log.exception("writing answer %d", self.answer)
            self.state, self.error = "failed", "Something went wrong here. It is in the log."

    def conversation(self) -> list[dict]:
        """The newest questions and answers, as a model takes them."""
        messages = []
        for past in store.answers_of(self.chat)[-20:]:
            messages.append({"role": "user", "content": past["question"]})
            if past["answer"]:
                messages.append({"role": "assistant", "content": past["answer"]})
        return messages

    async def publish(self) -> None:
        tries = 0  # to tell the end
        while tries < END_TRIES:
            await self.more.wait()
            self.more.clear()
            ended = self.ended  # asked first: all of the text is there then
            try:
                await self.tell()
                if ended and await client.publish(channel_of(self.chat), "[DONE]"):
                    return
                failed = ended or self.whole
            except redis.RedisError as err:
                log.warning("publishing to %s: %s", channel_of(self.chat), err)
                self.whole = failed = True  # it may have been published, or not
            if failed:
                tries += ended
                await asyncio.sleep(AGAIN)
                self.more.set()
        log.error("nobody was there to take the end of answer %d", self.answer)

    async def tell(self) -> None:
        upto = len(self.text)
        if self.told == upto and not self.whole:
            return
        part = {"whole": self.text} if self.whole else {"text": self.text[self.told:]}
        self.whole = False
        # Nobody has taken it: Caddy is not connected, and gets the whole when it is.
        if not await client.publish(channel_of(self.chat), json.dumps({"answer": self.answer, **part})):
            self.whole = True
        self.told = upto

    async def watch(self) -> None:
        """Looks at what is asked of this worker, and says that it is alive."""
        while True:
            try:
                pipe = client.pipeline(transaction=False)
                pipe.set(f"alive:{self.answer}", 1, ex=ALIVE)
                pipe.getdel(f"ask:{self.answer}")
                _, asked = await pipe.execute()
                if asked == b"stop":
                    self.stop()
                if asked == b"again":
                    self.whole = True
                    self.more.set()
            except redis.RedisError as err:
                log.warning("looking at what is asked of answer %d: %s", self.answer, err)
            await asyncio.sleep(LOOK)
