"""What writes the answers: any OpenAI-compatible server, or else a small model of this example's own, which types."""
import asyncio
import json
import os
import random
import re
from pathlib import Path

import httpx

BASE_URL = os.environ.get("OPENAI_BASE_URL", "").rstrip("/")  # such as https://api.openai.com/v1; unset: the typist
API_KEY = os.environ.get("OPENAI_API_KEY", "")
PAUSE = float(os.environ.get("CHAT_PAUSE", "0.03"))  # seconds a piece of the typist, on average
SEED = os.environ.get("CHAT_SEED", "")  # with the question it decides what the typist says and how

# A thinking model is silent for minutes; a server that is gone is noticed when it is connected to.
TIMEOUT = httpx.Timeout(10, read=300)

NAMES = (os.environ.get("OPENAI_MODELS") or "gpt-4o-mini").replace(",", " ").split() if BASE_URL else ["typist"]


class ModelError(Exception):
    """Its text is shown to who asked."""


def write(model: str, messages: list[dict]):
    """Yields the pieces of an answer. messages are OpenAI's: [{"role": "user", "content": "..."}, ...]."""
    return completion(model, messages) if BASE_URL else typed(messages[-1]["content"])


async def completion(model: str, messages: list[dict]):
    request = {"model": model, "messages": messages, "stream": True}
    headers = {"Authorization": f"Bearer {API_KEY}"} if API_KEY else {}
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            async with client.stream("POST", f"{BASE_URL}/chat/completions", json=request, headers=headers) as response:
                if response.status_code != 200:
                    raise ModelError(f"The model's server answered with status {response.status_code}.")
                async for piece in pieces(response.aiter_lines()):
                    yield piece
    except httpx.HTTPError as err:
        raise ModelError(f"The model's server is out of reach ({type(err).__name__}).") from err


async def pieces(lines):
    """Yields the texts of a streamed completion. One that just ends has been cut."""
    finished = False
    async for line in lines:
        if not line.startswith("data:"):
            continue
        data = line[len("data:"):].strip()
        if data == "[DONE]":
            return
        try:
            chunk = json.loads(data)
            if "error" in chunk:
                raise ModelError("The model's server reports an error.")
            for choice in chunk.get("choices", []):
                finished = finished or choice.get("finish_reason") is not None
                if text := (choice.get("delta") or {}).get("content"):
                    yield text
        except (ValueError, TypeError, AttributeError) as err:
            raise ModelError("The model's server does not speak OpenAI's protocol.") from err
    if not finished:
        raise ModelError("The model's server broke off.")


# Each begins with a line of the words that ask for it.
ANSWERS = [tuple(text.split("\n", 1)) for text in Path(__file__).with_name("answers.md").read_text("utf-8").split("\n=====\n")]


async def typed(question: str):
    rng = random.Random(f"{SEED}:{question}")
    for piece in split(answer_to(question, rng), rng):
        await asyncio.sleep(PAUSE * rng.uniform(0.3, 1.7))
        yield piece


def answer_to(question: str, rng: random.Random) -> str:
    """What the question asks to be said, or the answer of whose words it has most; the last one introduces the typist."""
    if said := re.match(r"say:\s*", question, re.IGNORECASE):
        return question[said.end():]
    words = set(re.findall(r"[a-z]+", question.lower()))
    scores = [len(words & set(asks.split())) for asks, _ in ANSWERS]
    best = [text for score, (_, text) in zip(scores, ANSWERS) if score == max(scores)]
    return (rng.choice(best) if any(scores) else ANSWERS[-1][1]).strip()


def split(text: str, rng: random.Random):
    """Yields the text in pieces of about a word, as models do."""
    for word in re.findall(r"\s*\S+\s*?", text):
        cut = rng.randrange(3, 9)
        yield word[:cut]
        if word[cut:]:
            yield word[cut:]
