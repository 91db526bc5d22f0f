"""Answers of an OpenAI-compatible server (`vllm serve` and others): weights that are served elsewhere.

Owns the mapping of requests to /v1/completions and of its replies to answers. Does not hold weights. Invariant: a reply
becomes an answer only if it has everything the answer claims; nothing is guessed where a server leaves it out.

A server says under which name it serves, not which weights: `identity` is its address, that name and what /v1/models
tells (root, created). Predictions can only be found by these. Whoever puts other weights behind the same name and
address must use another name, or a new prediction store.

Two kinds of servers are told apart by asking: one with vLLM's /tokenize is given token ids, split as for every other
engine; of any other the number of a context's tokens is taken from `usage`, and its log-probabilities by `echo`.
"""

from __future__ import annotations

import queue
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.errors import InputError, WorkerError, nearest
from harness.evaluate.engines import tokens
from harness.evaluate.engines.http_client import Client, RefusedError
from harness.evaluate.requests import Answer, Ask, Request
from harness.evaluate.texts import cut

_COMPLETIONS = "/v1/completions"
# Stop strings that OpenAI's own servers accept; the rest is cut here.
_FEWEST_STOPS = 4
_TOO_LONG = re.compile(r"(?i)maximum (?:context|model) length|exceeds.{0,40}(?:length|context)|too long|context_length")
_NEEDS = (
    "The server returns no log-probabilities of its prompts, which multiple-choice and perplexity tasks need. Use a"
    " server that does (vLLM's `vllm serve` as it is), another engine, or generation tasks only."
)


class ServerTokenizer:
    """The tokenizer behind vLLM's /tokenize, as far as splitting needs it."""

    def __init__(self, client: Client, model: str) -> None:
        """Ask for the BOS that the server puts before a text, if any.

        Raises:
            RefusedError: the server has no /tokenize.
        """
        self._client, self._model = client, model
        self.bos_token: str | None = None
        self.bos_token_id: int | None = None
        self.eos_token = self.eos_token_id = None
        first = self.encode("a")
        if len(first) == len(self.encode("a", add_special_tokens=False)) + 1:
            self.bos_token_id = first[0]
            reply = client.post("/detokenize", {"model": model, "tokens": first[:1]})
            self.bos_token = reply["prompt"] or None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a text."""
        body = {"model": self._model, "prompt": text, "add_special_tokens": add_special_tokens}
        ids: list[int] = self._client.post("/tokenize", body)["tokens"]
        return ids


class ServerBackend:
    """A server behind the interface of all engines."""

    name = "server"

    def __init__(
        self,
        url: str,
        *,
        max_length: int | None = None,
        concurrent: int = 32,
        timeout: float = 600.0,
        pause: float = 0.5,
    ) -> None:
        """Set up without asking anything.

        Args:
            url: address of the server.
            max_length: positions that a prompt and its answer may take; the server's own (max_model_len) when None.
            concurrent: requests in flight; a server batches what it gets at once.
            timeout: seconds that one reply may take.
            pause: seconds before a second try.
        """
        self.client = Client(url, timeout=timeout, first_pause=pause)
        self.version = "unknown"
        self.identity: dict[str, Any] = {}
        self.usage = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}
        self._wanted_length, self._limit = max_length, max_length or 0
        self._threads = ThreadPoolExecutor(max_workers=concurrent, thread_name_prefix="server")
        self._done: queue.SimpleQueue[tuple[str, Answer | Exception]] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._tokenizer: ServerTokenizer | None = None
        self._vllm = False
        self._most_stops: int | None = None
        self.pending = 0

    def use(self, model: str) -> dict[str, Any]:
        """Check that the server serves a model under this name; "" takes the only one there is.

        Raises:
            InputError: no such model, or several and none named.
            WorkerError: the server does not answer.
        """
        try:
            cards = {card["id"]: card for card in self.client.get("/v1/models")["data"]}
        except (RefusedError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.client.address} has no /v1/models in OpenAI's form ({error}). Give --server the address of an"
                " OpenAI-compatible server, such as http://localhost:8000."
            ) from None
        if not model and len(cards) == 1:
            [model] = cards
        if model not in cards:
            problem = f"serves no model '{model}'" if model else "serves several models; name one"
            raise InputError(f"The server {self.client.address} {problem}.{nearest(model, cards)}")
        card = cards[model]
        told = {name: card[name] for name in ("root", "created") if card.get(name) is not None}
        self._vllm = card.get("owned_by") == "vllm"
        if self._vllm:
            told.pop("created", None)  # vLLM gives the time of the question
            self.version = self._vllm_version()
        self.identity = {"server": self.client.address, "model": model, **told}
        self._limit = min(filter(None, [self._wanted_length, card.get("max_model_len")]), default=2**31)
        # Other servers have a /tokenize too, of other forms.
        self._tokenizer = self._find_tokenizer(model) if self._vllm else None
        return {"server_tokenizer": self._tokenizer is not None, **self.identity}

    def _vllm_version(self) -> str:
        try:
            return f"vllm {self.client.get('/version')['version']}"
        except (RefusedError, KeyError, TypeError):
            return "vllm, unknown version"

    def _find_tokenizer(self, model: str) -> ServerTokenizer | None:
        try:
            return ServerTokenizer(self.client, model)
        except (RefusedError, KeyError, TypeError):
            return None

    @property
    def positions(self) -> int | None:
        """Tokens that prompt and answer may have together, as far as the server says."""
        return self._limit if self._limit < 2**31 else None

    def submit(self, key: str, request: Request) -> None:
        """Take a request under a key; it is sent when one of the threads is free."""
        assert self.identity, "use(model) comes first"
        if request.kind is Ask.GENERATE and request.temperature > 0 and request.seed is None:
            raise InputError(f"Item '{request.item}' is sampled (temperature > 0) without a seed; give it one.")
        self.pending += 1
        self._threads.submit(self._work, key, request)

    def step(self) -> list[tuple[str, Answer]]:
        """Wait for the next answers; return those that have come.

        Raises:
            InputError: the server cannot answer this kind of request, or refuses it.
            WorkerError: the server did not answer.
        """
        found: list[tuple[str, Answer]] = []
        while self.pending and not (found and self._done.empty()):
            key, answer = self._done.get()
            self.pending -= 1
            if isinstance(answer, Exception):
                self.close()
                raise answer
            found.append((key, answer))
        while not self._replies.empty():
            usage = self._replies.get()
            self.usage["requests"] += 1
            for name in ("prompt_tokens", "completion_tokens"):
                self.usage[name] += int(usage.get(name) or 0)
        return found

    def close(self) -> None:
        """Send nothing more."""
        self.client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _work(self, key: str, request: Request) -> None:
        # Whatever goes wrong is raised again by `step`, in the thread that asked.
        try:
            self._done.put((key, self._answer(request)))
        except RefusedError as error:
            text = f"The server {self.client.address} refuses item '{request.item}': {error}"
            self._done.put((key, InputError(text)))
        except Exception as error:
            self._done.put((key, error))

    def _answer(self, request: Request) -> Answer:
        if request.kind is Ask.GENERATE:
            return self._generate(request)
        if self._tokenizer is None:
            return self._echoed(request)
        if request.kind is Ask.TEXT and self._tokenizer.bos_token_id is None:
            raise InputError(
                f"Item '{request.item}': the server {self.client.address} puts no BOS before a text, so the first token"
                " of a perplexity task has nothing before it. Use the vllm or transformers engine for such tasks."
            )
        # A window's prefix and the token that the server makes beside its prompt take a position each.
        encoded = tokens.encode_request(self._tokenizer, request, self._limit, window=self._limit - 2)
        if isinstance(encoded, Answer):
            return encoded
        if encoded.one_token and self._vllm:
            return self._next_token(encoded)
        scored = [self._prompt_scores([*context, *ids], len(context)) for context, ids in encoded.pairs]
        return _scored_answer(request, scored)

    def _generate(self, request: Request) -> Answer:
        if request.chat:
            raise InputError(
                f"Item '{request.item}' is asked as a chat, and the server {self.client.address} does not show its chat"
                " template. Ask the checkpoint's folder with the vllm or transformers engine."
            )
        prompt: str | list[int] = request.context
        if self._tokenizer is not None:
            encoded = tokens.encode_request(self._tokenizer, request, self._limit)
            if isinstance(encoded, Answer):
                return encoded
            prompt = list(encoded.prompt)
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.temperature > 0:
            body |= {"top_p": request.top_p, "seed": request.seed}
        if request.top_k > 0:
            body["top_k"] = request.top_k
        if self._vllm:
            # Named, because vLLM fills what is left out from the checkpoint's generation_config.json.
            body |= {"top_p": request.top_p, "top_k": request.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
            body["return_token_ids"] = True
        until = [stop for stop in request.until if stop]
        try:
            try:
                reply = self._complete(body | ({"stop": until[: self._most_stops]} if until else {}))
            except RefusedError:
                if len(until) <= _FEWEST_STOPS or self._most_stops is not None:
                    raise
                reply = self._complete(body | {"stop": until[:_FEWEST_STOPS]})
                self._most_stops = _FEWEST_STOPS
        except RefusedError as error:
            if _TOO_LONG.search(error.message):
                return Answer(too_long=_prompt_length(error.message, self._limit))
            raise
        return _generated(reply, request, self._limit)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return {"choice", "usage"} of one completion; a reply without them counts as a fault of the server."""
        reply = self.client.post(_COMPLETIONS, {"model": self.identity["model"], **body})
        try:
            choice, usage = reply["choices"][0], reply.get("usage") or {}
            text, reason = choice["text"], choice["finish_reason"]
            if not isinstance(text, str):
                raise TypeError
        except (KeyError, IndexError, TypeError, AttributeError):
            raise WorkerError(
                f"The server {self.client.address} answered {_COMPLETIONS} in another form than OpenAI's:"
                f" {str(reply)[:300]}"
            ) from None
        if reason not in ("stop", "length"):
            # "abort" of a server that shuts down, "content_filter": half a text must not pass for an answer.
            raise WorkerError(
                f"The server {self.client.address} ended a text for the reason {reason!r}. Finished answers are stored:"
                " start the same command again when the server is well."
            )
        self._replies.put(usage)
        return {"choice": choice, "usage": usage}

    def _next_token(self, encoded: tokens.Encoded) -> Answer:
        """One prompt for all choices: vLLM returns the log-probabilities of exactly the tokens asked for."""
        wanted = [ids[0] for _, ids in encoded.pairs]
        body = {
            "prompt": encoded.pairs[0][0],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "logprob_token_ids": sorted(set(wanted)),
            "return_tokens_as_token_ids": True,
        }
        logprobs = self._complete(body)["choice"].get("logprobs") or {}
        if not logprobs.get("top_logprobs"):
            raise InputError(_NEEDS)
        table = {int(name.rpartition(":")[2]): value for name, value in logprobs["top_logprobs"][0].items()}
        if not set(wanted) <= set(table):
            # An older vLLM ignores the list; then every choice is a prompt of its own.
            scored = [self._prompt_scores([*context, *ids], len(context)) for context, ids in encoded.pairs]
            return Answer(
                logprobs=tuple(sum(values) for values, _ in scored),
                greedy=tuple(greedy for _, greedy in scored),
                counts=(1,) * len(wanted),
            )
        likeliest = int(logprobs["tokens"][0].rpartition(":")[2])
        return Answer(
            logprobs=tuple(table[one] for one in wanted),
            greedy=tuple(one == likeliest for one in wanted),
            counts=(1,) * len(wanted),
        )

    def _prompt_scores(self, prompt: list[int], begin: int) -> tuple[list[float], bool]:
        """Return the log-probabilities of a prompt's tokens from `begin` on, and whether all were the likeliest."""
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1}
        tables = self._complete(body)["choice"].get("prompt_logprobs")
        if not tables or len(tables) != len(prompt):
            raise InputError(_NEEDS)
        entries = [table[str(token)] for table, token in zip(tables[begin:], prompt[begin:], strict=True)]
        return [entry["logprob"] for entry in entries], all(entry["rank"] == 1 for entry in entries)

    def _echoed(self, request: Request) -> Answer:
        """Score by `echo`: texts go in, and the context alone tells how many of the tokens are its own."""
        if request.kind is Ask.TEXT or not all(context.strip() for context in request.contexts):
            raise InputError(
                f"Item '{request.item}' scores a text with nothing before it, and the server {self.client.address} has"
                " no /tokenize to put a token there. Use a vLLM server, or the vllm or transformers engine."
            )
        counts: dict[str, int] = {}
        scored = []
        for given, text in request.pairs:
            context = given.rstrip()
            try:
                if context not in counts:
                    counts[context] = len(self._echo(context)["tokens"])
                whole = self._echo(context + given[len(context) :] + text)
            except RefusedError as error:
                if _TOO_LONG.search(error.message):
                    return Answer(too_long=_prompt_length(error.message, self._limit))
                raise
            begin = counts[context]
            if len(whole["tokens"]) >= self._limit or 0 < request.max_prompt < len(whole["tokens"]):
                return Answer(too_long=len(whole["tokens"]))
            values, tops = whole["token_logprobs"][begin:], whole["top_logprobs"][begin:]
            if not values:
                raise InputError(
                    f"Item '{request.item}': the choice {text!r} has no token of its own after its context."
                )
            greedy = all(value >= max(top.values()) for value, top in zip(values, tops, strict=True))
            scored.append((values, greedy))
        return _scored_answer(request, scored)

    def _echo(self, text: str) -> dict[str, list[Any]]:
        """Return tokens, token_logprobs and top_logprobs of a prompt, without the token that is made after it."""
        found = self._complete({"prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1})
        logprobs, count = found["choice"].get("logprobs") or {}, int(found["usage"].get("prompt_tokens") or 0)
        lists = {name: (logprobs.get(name) or [])[:count] for name in ("tokens", "token_logprobs", "top_logprobs")}
        if not count or any(len(values) != count for values in lists.values()):
            raise InputError(_NEEDS)
        return lists


def _scored_answer(request: Request, scored: list[tuple[list[float], bool]]) -> Answer:
    sums, counts = [float(sum(values)) for values, _ in scored], [len(values) for values, _ in scored]
    if request.kind is Ask.TEXT:
        return Answer(logprobs=(float(sum(sums)),), counts=(sum(counts),))
    return Answer(logprobs=tuple(sums), greedy=tuple(greedy for _, greedy in scored), counts=tuple(counts))


def _generated(reply: Mapping[str, Any], request: Request, limit: int) -> Answer:
    """Return the answer of a completion; a text that the server cut short for want of room is too long.

    Where the tokens were not known before, the limit is held to afterwards, so that engines drop the same shots.
    """
    choice, usage = reply["choice"], reply["usage"]
    made, prompt = usage.get("completion_tokens"), int(usage.get("prompt_tokens") or 1)
    short = choice["finish_reason"] == "length" and made is not None and made < request.max_tokens
    if short or prompt + request.max_tokens > limit or 0 < request.max_prompt < prompt:
        return Answer(too_long=prompt)
    text, stop = cut(tokens.storable(choice["text"]), request.until)
    ids = list(choice.get("token_ids") or ())
    reason = choice.get("stop_reason")
    if choice["finish_reason"] == "length":
        finish = "stop" if text != choice["text"] else "length"
    elif "stop_reason" in choice:
        # vLLM names the stop string; an end token has no reason, or its id.
        finish = "stop" if isinstance(reason, str) else "end"
        ids = ids if finish == "stop" else ids[:-1]
        stop = stop or (reason if isinstance(reason, str) else "")  # the server has cut it off
    else:
        # Others do not say which it was; only without stop strings it must have been the model.
        finish = "stop" if request.until else "end"
    return Answer(text=text, tokens=tuple(ids), finish=finish, stop=stop)


def _prompt_length(message: str, limit: int) -> int:
    """Return the largest number in a refusal, which is the prompt's length with or without its answer's."""
    return max([int(number) for number in re.findall(r"\d+", message)] + [limit if limit < 2**31 else 1])
