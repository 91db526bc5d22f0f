"""A small server that behaves like OpenAI's completions API, as vLLM serves it, over a real model; it can misbehave."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "sk-secret-9"


class CompletionsServer:
    """Serves one model folder; `faults` are taken one per completion, `seen` are the bodies that were answered.

    A fault: a code, "reset", "cut" (half the JSON), "slow" or "shape" (JSON of another form).
    """

    def __init__(self, folder: Path, *, vllm: bool = True, scores: bool = True, limit: int = 256) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        loader: Any = AutoModelForCausalLM
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model = loader.from_pretrained(folder, dtype=torch.float32).eval()
        self.vllm, self.scores, self.limit, self.most_stops = vllm, scores, limit, 99
        self.faults: list[Any] = []
        self.seen: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.connections: set[Any] = set()
        self.lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                owner.answer(self, None)

            def do_POST(self) -> None:
                owner.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # the client went away, as the tests of slow replies want

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: Any, body: dict[str, Any] | None) -> None:
        with self.lock:
            self.keys.add(handler.headers.get("Authorization", ""))
            self.connections.add(handler.client_address)
            fault = self.faults.pop(0) if handler.path.endswith("completions") and self.faults else None
        if fault == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        if fault == "slow":
            time.sleep(1.0)
        code, reply = 200, {}
        if isinstance(fault, int):
            code, reply = fault, {"error": {"message": f"fault {fault}", "type": "fault"}}
        elif fault == "shape":
            reply = {"result": "hello"}
        else:
            with self.lock:
                code, reply = self.route(handler.path, body)
        raw = json.dumps(reply).encode()
        if fault == "cut":
            raw = raw[: len(raw) // 2]
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(raw)))
        if code == 429:
            handler.send_header("Retry-After", "0")
        handler.end_headers()
        handler.wfile.write(raw)

    def route(self, path: str, body: Any) -> tuple[int, Any]:
        missing = 404, {"error": {"message": "Not Found"}}
        if path == "/v1/models":
            card = {"id": "pocket", "object": "model", "created": 1700000000, "owned_by": "someone"}
            more = {"owned_by": "vllm", "root": "/models/pocket", "max_model_len": self.limit}
            return 200, {"object": "list", "data": [card | (more if self.vllm else {})]}
        if path == "/v1/completions":
            return self.complete(body)
        if not self.vllm:
            return missing
        if path == "/version":
            return 200, {"version": "0.32.0"}
        if path == "/tokenize":
            return 200, {"tokens": self.ids(body["prompt"], body.get("add_special_tokens", True))}
        if path == "/detokenize":
            return 200, {"prompt": self.tokenizer.decode(body["tokens"])}
        return missing

    def ids(self, text: str, special: bool = True) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special)
        return ids

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        import torch

        self.seen.append(body)
        prompt = self.ids(body["prompt"]) if isinstance(body["prompt"], str) else list(body["prompt"])
        if len(body.get("stop") or []) > self.most_stops:
            return 400, {"error": {"message": "'stop' must have at most 4 elements"}}
        if len(prompt) >= self.limit:
            text = f"This model's maximum context length is {self.limit} tokens. Your prompt has {len(prompt)} tokens."
            return 400, {"error": {"message": text}}
        choice: dict[str, Any] = {"index": 0}
        with torch.inference_mode():
            if body.get("echo") or body.get("prompt_logprobs") or body.get("logprobs"):
                self.score(body, prompt, choice)
            made = self.generate(body, prompt, choice)
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(made)}
        return 200, {"id": "cmpl-1", "model": "pocket", "choices": [choice], "usage": usage}

    def score(self, body: dict[str, Any], prompt: list[int], choice: dict[str, Any]) -> None:
        import torch

        if not self.scores:
            return
        table = torch.log_softmax(self.model(torch.tensor([prompt])).logits[0], -1)
        if body.get("logprob_token_ids"):
            likeliest = int(table[-1].argmax())
            tops = {f"token_id:{one}": table[-1, one].item() for one in [*body["logprob_token_ids"], likeliest]}
            choice["logprobs"] = {"tokens": [f"token_id:{likeliest}"], "top_logprobs": [tops]}
            return
        entries: list[Any] = [None]
        for place, token in enumerate(prompt[1:]):
            row = table[place]
            rank = int((row > row[token]).sum()) + 1
            entries.append({str(token): {"logprob": row[token].item(), "rank": rank}})
        if body.get("prompt_logprobs"):
            choice["prompt_logprobs"] = entries
        if body.get("echo"):
            values = [None if one is None else next(iter(one.values()))["logprob"] for one in entries]
            best = [None, *(table[place].max().item() for place in range(len(prompt) - 1))]
            pieces = [self.tokenizer.decode([token]) for token in prompt]
            tops = [
                None if top is None else {"best": top, "own": value} for top, value in zip(best, values, strict=True)
            ]
            # The generated token comes after those of the prompt, as real servers send it.
            choice["logprobs"] = {
                "tokens": [*pieces, "x"],
                "token_logprobs": [*values, -1.0],
                "top_logprobs": [*tops, {"x": -1.0}],
            }

    def generate(self, body: dict[str, Any], prompt: list[int], choice: dict[str, Any]) -> list[int]:
        import torch

        made: list[int] = []
        stops, text, reason, finish = body.get("stop") or [], "", None, "length"
        while len(made) < min(body["max_tokens"], self.limit - len(prompt)):
            token = int(self.model(torch.tensor([prompt + made])).logits[0, -1].argmax())
            made.append(token)
            if token == self.tokenizer.eos_token_id:
                finish = "stop"
                break
            text = self.tokenizer.decode(made, skip_special_tokens=True)
            hit = [stop for stop in stops if stop in text]
            if hit:
                text, reason, finish = text[: text.index(hit[0])], hit[0], "stop"
                break
        choice |= {"text": text, "finish_reason": finish}
        if self.vllm:
            choice["stop_reason"] = reason
        if body.get("return_token_ids"):
            choice["token_ids"] = made
        return made
