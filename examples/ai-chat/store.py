"""Who has which chats, and what was said in them: one SQLite file. An answer is stored when it is finished, not before."""
import hashlib
import os
import secrets
import sqlite3
import time

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS sessions (hash TEXT PRIMARY KEY, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chats (id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, changed REAL NOT NULL);
CREATE INDEX IF NOT EXISTS chats_of_owner ON chats (owner, changed);
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE,
    question TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,             -- writing, finished, stopped, failed
    answer TEXT NOT NULL DEFAULT '', -- empty while it is being written
    error TEXT NOT NULL DEFAULT ''   -- why it failed
);
CREATE INDEX IF NOT EXISTS answers_of_chat ON answers (chat, id);
-- Only one answer of a chat is in the works at a time, whatever the number of processes.
CREATE UNIQUE INDEX IF NOT EXISTS one_in_the_works ON answers (chat) WHERE state = 'writing';
CREATE TABLE IF NOT EXISTS links (hash TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL);
"""

LINK_TIME = 300  # seconds that a link for another device can be used

# What is done here takes well under a millisecond, so that no thread is worth it. Where it would not, use one.
db = sqlite3.connect(os.environ.get("CHAT_DB", "chat.db"), isolation_level=None, check_same_thread=False)
db.row_factory = sqlite3.Row
db.executescript(SCHEMA)
db.execute("PRAGMA foreign_keys = ON")


class Busy(Exception):
    """An answer of this chat is in the works."""


def hash_of(token: str) -> str:
    """What is stored of a token. Who reads the file cannot use one."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_owner() -> str:
    return secrets.token_hex(16)


def add_session(owner: str) -> str:
    session = secrets.token_urlsafe(24)
    db.execute("INSERT INTO sessions VALUES (?, ?)", (hash_of(session), owner))
    return session


def owner_of(session: str) -> str | None:
    row = db.execute("SELECT owner FROM sessions WHERE hash = ?", (hash_of(session),)).fetchone()
    return row and row["owner"]


def add_chat(owner: str, title: str) -> str:
    chat = secrets.token_hex(16)
    db.execute("INSERT INTO chats VALUES (?, ?, ?, ?)", (chat, owner, title, time.time()))
    return chat


def chats_of(owner: str) -> list[dict]:
    rows = db.execute("SELECT id, title FROM chats WHERE owner = ? ORDER BY changed DESC LIMIT 200", (owner,))
    return [dict(row) for row in rows]


def title_of(owner: str, chat: str) -> str | None:
    """None: there is no such chat, or it is somebody else's. Nobody is told which."""
    row = db.execute("SELECT title FROM chats WHERE id = ? AND owner = ?", (chat, owner)).fetchone()
    return row and row["title"]


def delete_chat(chat: str) -> None:
    db.execute("DELETE FROM chats WHERE id = ?", (chat,))


def answers_of(chat: str) -> list[dict]:
    rows = db.execute("SELECT id, question, model, state, answer, error FROM answers WHERE chat = ? ORDER BY id", (chat,))
    return [dict(row) for row in rows]


def in_the_works(chat: str) -> int | None:
    row = db.execute("SELECT id FROM answers WHERE chat = ? AND state = 'writing'", (chat,)).fetchone()
    return row and row["id"]


def begin(chat: str, question: str, model: str) -> int:
    try:
        insert = "INSERT INTO answers (chat, question, model, state) VALUES (?, ?, ?, 'writing')"
        answer = db.execute(insert, (chat, question, model)).lastrowid
    except sqlite3.IntegrityError as err:
        raise Busy from err
    db.execute("UPDATE chats SET changed = ? WHERE id = ?", (time.time(), chat))
    return answer


def finish(answer: int, state: str, text: str, error: str = "") -> None:
    """By its worker, which knows better than who gave it up. An answer that is deleted stays so."""
    db.execute("UPDATE answers SET state = ?, answer = ?, error = ? WHERE id = ?", (state, text, error, answer))


def give_up(answer: int, error: str) -> bool:
    """False: somebody else has finished it."""
    update = "UPDATE answers SET state = 'failed', error = ? WHERE id = ? AND state = 'writing'"
    return db.execute(update, (error, answer)).rowcount > 0


def forget(answer: int) -> None:
    db.execute("DELETE FROM answers WHERE id = ?", (answer,))


def add_link(owner: str) -> str:
    token = secrets.token_urlsafe(24)
    db.execute("DELETE FROM links WHERE until < ?", (time.time(),))
    db.execute("INSERT INTO links VALUES (?, ?, ?)", (hash_of(token), owner, time.time() + LINK_TIME))
    return token


def use_link(token: str) -> str | None:
    """The owner whose link it was. It works once."""
    delete = "DELETE FROM links WHERE hash = ? AND until >= ? RETURNING owner"
    row = db.execute(delete, (hash_of(token), time.time())).fetchone()
    return row and row["owner"]
