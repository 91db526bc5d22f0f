"""Formats of chats: from one JSON row to turns and attributes.

Owns which shapes are known, how they are told apart, and the names of roles. Does not read files (see
`rows`) or judge contents: turns that do not alternate and empty turns pass, the cleaner names them.
Invariant: a row either becomes a chat with every message in order, or raises `WrongShape` that names the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import nearest
from harness.nouns import Chat, Role, Turn

ROLES: dict[str, Role] = {
    "system": Role.SYSTEM,
    "human": Role.USER,
    "user": Role.USER,
    "prompter": Role.USER,
    "gpt": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
}
#: Key of the list of messages -> the keys of a message that name its speaker and its text.
CONVERSATIONS = {"conversations": ("from", "value"), "messages": ("role", "content")}
INSTRUCTION, CONTEXT, RESPONSE = "instruction", "context", "response"
EXPECTED = (
    'ShareGPT {"conversations": [{"from": "human", "value": ...}]}, OpenAI {"messages": [{"role": "user",'
    ' "content": ...}]} or Dolly {"instruction": ..., "context": ..., "response": ...}'
)


class WrongShape(Exception):
    """A row that is not a chat in any known format; the message says which key is wrong and why."""


def to_chat(row: Any, *, source: str, number: int) -> Chat:
    """Return the chat of one row.

    Args:
        row: the decoded JSON value.
        source: name of the source; the chat's `source` is "<source>:<id>", or the row number without an id.
        number: row number, from 1.

    Raises:
        WrongShape: see there.
    """
    if not isinstance(row, Mapping):
        raise WrongShape(f"the row is {_kind(row)}, not an object. Expected {EXPECTED}.")
    for key, names in CONVERSATIONS.items():
        if key in row:
            turns, used = _conversation(row[key], key, names), {key}
            break
    else:
        turns, used = _instruction(row), {INSTRUCTION, CONTEXT, RESPONSE}
    name = row.get("id")
    name = number if name is None or isinstance(name, (Mapping, list)) else name
    attributes = {str(key): value for key, value in row.items() if key not in used}
    return Chat(turns=turns, source=f"{source}:{name}", attributes=attributes)


def _conversation(messages: Any, key: str, names: tuple[str, str]) -> tuple[Turn, ...]:
    if not isinstance(messages, list):
        raise WrongShape(f"'{key}' is {_kind(messages)}, not a list of messages.")
    turns = []
    for index, message in enumerate(messages):
        place = f"{key}[{index}]"
        if not isinstance(message, Mapping):
            raise WrongShape(f"'{place}' is {_kind(message)}, not an object with '{names[0]}' and '{names[1]}'.")
        for name in names:
            if name not in message:
                raise WrongShape(f"'{place}' has no key '{name}'; it has {_listed(message)}.")
        speaker = _text(message[names[0]], f"{place}.{names[0]}")
        role = ROLES.get(speaker.strip().lower())
        if role is None:
            raise WrongShape(
                f"'{place}.{names[0]}' is '{speaker}', which is not a known role.{nearest(speaker, ROLES)}"
            )
        turns.append(Turn(role=role, text=_text(message[names[1]], f"{place}.{names[1]}")))
    return tuple(turns)


def _instruction(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    if INSTRUCTION not in row and RESPONSE not in row:
        raise WrongShape(f"the row has {_listed(row)}. Expected {EXPECTED}.")
    for name in (INSTRUCTION, RESPONSE):
        if name not in row:
            raise WrongShape(f"the row has no key '{name}'; it has {_listed(row)}.")
    asked = _text(row[INSTRUCTION], INSTRUCTION)
    context = _text(row[CONTEXT], CONTEXT) if row.get(CONTEXT) is not None else ""
    if context.strip():
        asked = f"{asked}\n\n{context}"
    return (
        Turn(role=Role.USER, text=asked),
        Turn(role=Role.ASSISTANT, text=_text(row[RESPONSE], RESPONSE)),
    )


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise WrongShape(f"'{place}' is {_kind(value)}, not a string.")
    return value


def _listed(row: Mapping[str, Any]) -> str:
    return "the keys " + ", ".join(f"'{key}'" for key in row) if row else "no keys"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"a {type(value).__name__}")
