"""A served model gives the answers of its own weights; a server's faults end in the same answers or in words."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from completions_server import KEY, CompletionsServer

from harness.data import pocket
from harness.errors import InputError, WorkerError
from harness.evaluate.engines.server_backend import ServerBackend, _generated
from harness.evaluate.engines.transformers_backend import TransformersBackend
from harness.evaluate.requests import Answer, Ask, Request

LIMIT = 256


def choices(item: str, context: str, *texts: str) -> Request:
    return Request(item=item, kind=Ask.CHOICES, contexts=(context,), continuations=texts)


def generation(item: str, context: str, **fields: Any) -> Request:
    return Request(item=item, kind=Ask.GENERATE, contexts=(context,), **{"max_tokens": 8, **fields})


SCORED = [
    choices("letters", "Two of them.\nAnswer:", " A", " B", " C"),
    choices("space", "Two of them.\nAnswer: ", "A", "B"),
    choices("longer", "The sky over it is", " very blue", " not"),
    Request(item="contexts", kind=Ask.CHOICES, contexts=("He is", "She is"), continuations=(" blue", " blue")),
]
MADE = [generation("free", "Q: Anna has 3 apples."), generation("stopped", "Q: Anna has 3 apples.", until=("\n", "."))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pocket.build_base(folder, {"seed": 5})
    return folder


@pytest.fixture
def server(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CompletionsServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    one = CompletionsServer(model)
    yield one
    one.close()


@pytest.fixture(scope="module")
def wanted(model: Path) -> dict[str, Answer]:
    backend = TransformersBackend(dtype="float32", max_length=LIMIT, device="cpu")
    backend.use(str(model))
    return ask(backend, SCORED + MADE)


def ask(backend: Any, requests: Iterable[Request]) -> dict[str, Answer]:
    for one in requests:
        backend.submit(one.item, one)
    answers: dict[str, Answer] = {}
    while backend.pending:
        answers |= dict(backend.step())
    return answers


def connected(server: CompletionsServer, **options: Any) -> ServerBackend:
    backend = ServerBackend(server.url, **{"concurrent": 4, "pause": 0.01, **options})
    backend.use("pocket")
    return backend


def assert_same(answers: dict[str, Answer], wanted: dict[str, Answer], *, ids: bool = True) -> None:
    for item, answer in answers.items():
        assert answer.logprobs == pytest.approx(wanted[item].logprobs, abs=1e-4), item
        for name in ("greedy", "counts", "text", "finish", "too_long", *(["tokens"] if ids else [])):
            assert getattr(answer, name) == getattr(wanted[item], name), (item, name)


def test_a_vllm_server_gives_the_answers_of_the_transformers_engine(
    server: CompletionsServer, wanted: dict[str, Answer]
) -> None:
    backend = connected(server)
    answers = ask(backend, SCORED + MADE)
    assert len(answers) == len(SCORED + MADE)
    assert_same(answers, wanted)
    assert backend.version == "vllm 0.32.0"
    assert backend.usage["requests"] == len(server.seen)
    assert backend.usage["completion_tokens"] >= 8


def test_one_token_choices_take_one_prompt_for_all(server: CompletionsServer) -> None:
    ask(connected(server), SCORED[:1])
    assert len(server.seen) == 1


def test_another_server_scores_by_echo_and_gives_the_same_answers(
    server: CompletionsServer, wanted: dict[str, Answer]
) -> None:
    server.vllm = False
    answers = ask(connected(server), SCORED + MADE)
    # It says neither the ids nor whether the model or a stop string ended a text.
    assert_same(answers, wanted, ids=False)
    assert all(isinstance(body["prompt"], str) for body in server.seen)


@pytest.mark.parametrize(
    "faults", [[429, 429], [500], [503, 502], ["reset"], ["cut"], [429, "reset", "cut", 500], ["slow"]]
)
def test_faults_that_pass_change_no_answer(
    server: CompletionsServer, wanted: dict[str, Answer], faults: list[Any]
) -> None:
    backend = connected(server, timeout=0.4 if "slow" in faults else 30.0, concurrent=2)
    server.faults = list(faults)
    assert_same(ask(backend, MADE + SCORED[:1]), wanted)
    assert server.faults == []


@pytest.mark.parametrize(("fault", "words"), [(500, "500 fault 500"), ("cut", "no JSON"), ("reset", "Connection")])
def test_a_server_that_stays_broken_ends_in_an_error_that_says_how(
    server: CompletionsServer, fault: Any, words: str
) -> None:
    backend = connected(server, pause=0.001)
    server.faults = [fault] * 100
    with pytest.raises(WorkerError, match=words):
        ask(backend, MADE[:1])
    assert len(server.faults) == 93, "seven tries"


def test_a_server_that_was_never_there_is_said_at_once(server: CompletionsServer) -> None:
    server.close()
    with pytest.raises(InputError, match="No server answers at"):
        ServerBackend(server.url, pause=1000).use("pocket")


def test_a_server_that_goes_away_is_tried_again_before_it_is_given_up(server: CompletionsServer) -> None:
    backend = connected(server, pause=0.001)
    server.close()
    with pytest.raises(WorkerError, match="in 7 tries"):
        ask(backend, MADE[:1])


def test_a_text_that_the_server_gave_up_is_no_answer(
    server: CompletionsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = connected(server)
    generate = server.generate

    def aborted(body: Any, prompt: Any, choice: dict[str, Any]) -> list[int]:
        made = generate(body, prompt, choice)
        choice["finish_reason"] = "abort"
        return made

    monkeypatch.setattr(server, "generate", aborted)
    with pytest.raises(WorkerError, match="for the reason 'abort'"):
        ask(backend, MADE[:1])


def test_a_limit_below_the_servers_own_holds_whether_the_tokens_are_known_before_or_after(
    server: CompletionsServer,
) -> None:
    prompt = "one two three four five six seven eight " * 4
    length = len(server.ids(prompt))
    for vllm in (True, False):
        server.vllm = vllm
        text = generation("text", prompt, max_tokens=4)
        asked = [text, choices("choices", prompt, " blue", " very blue")]
        short = ask(connected(server, max_length=length + 3), asked)
        assert short["text"] == Answer(too_long=length)
        assert short["choices"].too_long > length
        assert not any(one.too_long for one in ask(connected(server, max_length=length + 9), asked).values())


def test_a_reply_of_another_form_is_no_answer(server: CompletionsServer) -> None:
    backend = connected(server)
    server.faults = ["shape"]
    with pytest.raises(WorkerError, match="another form than OpenAI's"):
        ask(backend, MADE[:1])


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_named_by_its_variable(server: CompletionsServer, code: int) -> None:
    backend = connected(server)
    server.faults = [code]
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        ask(backend, MADE[:1])


def test_a_request_that_the_server_refuses_is_named_with_its_reason(server: CompletionsServer) -> None:
    backend = connected(server)
    server.faults = [422]
    with pytest.raises(InputError, match="refuses item 'free': 422: fault 422"):
        ask(backend, MADE[:1])


def test_a_wrong_model_name_suggests_the_right_one_and_no_name_takes_the_only_one(server: CompletionsServer) -> None:
    with pytest.raises(InputError, match=r"serves no model 'poket'\. Did you mean 'pocket'\?"):
        ServerBackend(server.url).use("poket")
    backend = ServerBackend(server.url)
    backend.use("")
    assert backend.identity == {"server": server.url, "model": "pocket", "root": "/models/pocket"}


@pytest.mark.parametrize("vllm", [True, False])
@pytest.mark.parametrize("request_", SCORED[:3], ids=lambda one: one.item)
def test_a_server_without_prompt_log_probabilities_names_the_tasks_that_need_them(
    server: CompletionsServer, vllm: bool, request_: Request
) -> None:
    server.vllm, server.scores = vllm, False
    backend = connected(server)
    with pytest.raises(InputError, match="multiple-choice and perplexity tasks"):
        ask(backend, [request_])


@pytest.mark.parametrize("vllm", [True, False])
def test_a_prompt_that_is_too_long_is_answered_so(server: CompletionsServer, vllm: bool) -> None:
    server.vllm = vllm
    long = "one two three four five six seven eight " * 60
    answers = ask(connected(server), [generation("text", long), choices("choices", long, " A", " B")])
    assert answers["text"].too_long > LIMIT
    assert answers["choices"].too_long > LIMIT


def test_a_text_that_the_server_cuts_short_for_want_of_room_is_too_long_and_no_answer(
    server: CompletionsServer,
) -> None:
    server.vllm = False  # a vLLM server's limit is known, and such a prompt is not sent
    prompt = "one two three four five six seven eight " * 16
    length = len(server.ids(prompt))
    assert ask(connected(server), [generation("text", prompt, max_tokens=LIMIT)])["text"] == Answer(too_long=length)


def test_more_stop_strings_than_a_server_takes_are_cut_here(
    server: CompletionsServer, wanted: dict[str, Answer]
) -> None:
    server.most_stops = 4
    one = generation("stopped", MADE[1].context, until=("zz1", "zz2", "zz3", "zz4", "\n", "."))
    again = generation("again", MADE[1].context, until=("zz1", "zz2", "zz3", "zz4", "\n", "."))
    backend = connected(server, concurrent=1)
    answers = ask(backend, [one, again])
    assert answers["stopped"].text == answers["again"].text == wanted["stopped"].text
    assert answers["stopped"].finish == "stop"
    assert [len(body["stop"]) for body in server.seen] == [6, 4, 4]


def test_settings_of_sampling_reach_the_server_and_its_own_defaults_do_not_apply(server: CompletionsServer) -> None:
    one = generation("one", "Q:", temperature=0.7, top_p=0.9, top_k=5, seed=11)
    ask(connected(server), [one])
    [body] = server.seen
    sent = {name: body[name] for name in ("temperature", "top_p", "top_k", "seed", "repetition_penalty", "min_p")}
    assert sent == {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 11,
        "repetition_penalty": 1.0,
        "min_p": 0.0,
    }
    with pytest.raises(InputError, match="seed"):
        connected(server).submit("two", generation("two", "Q:", temperature=0.7))


def test_the_key_is_sent_and_stands_in_no_identity_fact_or_error(server: CompletionsServer) -> None:
    address = server.url.replace("http://", "http://me:hidden@")
    backend = ServerBackend(address, pause=0.001)
    facts = backend.use("pocket")
    assert server.keys == {f"Bearer {KEY}"}
    server.faults = [500] * 7
    with pytest.raises(WorkerError) as caught:
        ask(backend, MADE[:1])
    for text in (json.dumps([facts, backend.identity]), str(caught.value), repr(caught.value)):
        assert KEY not in text
        assert "hidden" not in text


def test_connections_are_used_again(server: CompletionsServer) -> None:
    backend = connected(server, concurrent=2)
    ask(backend, [generation(f"text-{n}", f"Q: {n}", max_tokens=1) for n in range(20)])
    assert len(server.connections) <= 3


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "http://", "http://host:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        ServerBackend(address)


def test_perplexity_without_a_token_to_stand_first_is_refused(server: CompletionsServer) -> None:
    with pytest.raises(InputError, match="perplexity"):
        ask(connected(server), [Request(item="text", kind=Ask.TEXT, contexts=("The sky.",))])


@pytest.fixture
def vllm_serve(model: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cpu = {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "CUDA_VISIBLE_DEVICES": "",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--dtype", "float32"]
    command += ["--served-model-name", "pocket", "--max-model-len", str(LIMIT), "--enforce-eager", "--port", str(port)]
    log = tmp_path / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env={**os.environ, **cpu}, stdout=file, stderr=file)
    try:
        for _ in range(300):
            if process.poll() is not None:
                pytest.fail(f"vllm serve ended:\n{log.read_text()[-3000:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.mark.slow
def test_a_real_vllm_server_gives_the_answers_of_the_transformers_engine_in_float32(
    vllm_serve: str, wanted: dict[str, Answer]
) -> None:
    backend = ServerBackend(vllm_serve)
    backend.use("pocket")
    long = "one two three four five six seven eight " * 60
    answers = ask(backend, [*SCORED, *MADE, generation("long", long), choices("long choices", long, " A", " B B")])
    assert answers.pop("long").too_long > LIMIT
    assert answers.pop("long choices").too_long > LIMIT
    assert_same(answers, wanted)
    assert backend.usage["requests"] > 0
    backend._tokenizer, backend._vllm = None, False  # the ways of other servers, against the same one
    again = ask(backend, [*SCORED, *MADE, generation("long", long)])
    assert again.pop("long").too_long > LIMIT
    assert_same(again, wanted, ids=False)


def test_a_prompt_beyond_what_a_profile_allows_is_not_asked_of_a_server_either(server: CompletionsServer) -> None:
    """Of a server without /tokenize the length is known with its reply; engines drop the same shots."""
    server.vllm = False
    for one in (SCORED[2], MADE[0]):
        told = ask(connected(server), [replace(one, max_prompt=2), replace(one, item="more", max_prompt=99)])
        assert (told[one.item].too_long > 2, told["more"].too_long) == (True, 0)


def test_a_stop_string_is_named_only_where_the_server_says_that_it_was_met(server: CompletionsServer) -> None:
    one = generation("free", "Q: Anna has 3 apples.", until=("zzz",), max_tokens=64)
    told = ask(connected(server), [one])["free"]
    assert told.stop == ""
    reply = {"text": "a", "finish_reason": "stop"}
    for choice, stop in ((reply, ""), ({**reply, "stop_reason": None}, ""), ({**reply, "stop_reason": "zzz"}, "zzz")):
        assert _generated({"choice": choice, "usage": {}}, one, LIMIT).stop == stop
