"""A fake of Google's Gemini API: `POST /v1beta/models/MODEL:streamGenerateContent`, as its documentation has it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

import msgspec

from getpatter.testing.fake_llm import (
    FakeLLM,
    Says,
    Wire,
    WrongRequestError,
    data_frame,
    inside,
    listed,
)
from getpatter.testing.fake_speech import Call, Refusal

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class FakeGemini(FakeLLM):
    """As strict as the vendor: roles, answers of functions, and the signatures of its thoughts."""

    def may_enter(self, call: Call) -> Refusal | None:
        """A wrong key is a bad request; the request that only opens a connection needs none."""
        given = call.headers.get("x-goog-api-key") or call.said("key")
        if call.method == "HEAD" or given == self.key:
            return None
        return self.refused(
            400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"
        )

    def is_answer(self, call: Call) -> bool:
        """Any model, as a stream of events."""
        return (
            call.path.endswith(":streamGenerateContent")
            and call.method == "POST"
            and call.said("alt") == "sse"
        )

    def refused(self, status: int, said: str, reason: str = "") -> Refusal:
        """`{"error": {"code", "message", "status", "details"}}`."""
        error: dict[str, object] = {
            "code": status,
            "message": said,
            "status": _STATUSES.get(status, "UNKNOWN"),
        }
        if reason:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
        return Refusal(status, msgspec.json.encode({"error": error}))

    def check(self, call: Call, body: dict[str, object]) -> None:
        """What the vendor answers with 400."""
        contents = listed(body.get("contents"))
        if not contents:
            raise WrongRequestError("contents is not specified")
        if contents[0].get("role") != "user" or contents[-1].get("role") != "user":
            raise WrongRequestError("a conversation begins and ends with the user")
        waiting: list[object] = []
        for content in contents:
            if content.get("role") not in {"user", "model"}:
                raise WrongRequestError("Please use a valid role: user, model.")
            parts = listed(content.get("parts"))
            if not parts or any(part.get("text") == "" for part in parts):
                raise WrongRequestError("parts must have one initialized field")
            answered = [
                inside(part["functionResponse"]) for part in parts if "functionResponse" in part
            ]
            if [answer.get("name") for answer in answered] != waiting:
                raise WrongRequestError("function response parts must match function call parts")
            if any(not isinstance(answer.get("response"), dict) for answer in answered):
                raise WrongRequestError("response must be a Struct")
            calls = [part for part in parts if "functionCall" in part]
            waiting = [inside(part["functionCall"]).get("name") for part in calls]
            self._check_signatures(calls)

    def _check_signatures(self, calls: list[dict[str, object]]) -> None:
        for part in calls:
            call_id = str(inside(part["functionCall"]).get("id", ""))
            mine = call_id.startswith("fc_")
            if mine and part.get("thoughtSignature") != _signature(call_id):
                raise WrongRequestError("Function call is missing a thought_signature")

    def heard(self, body: Mapping[str, object]) -> str:
        """The last words of the user."""
        turns = [turn for turn in listed(body.get("contents")) if turn.get("role") == "user"]
        texts = [part["text"] for turn in turns for part in listed(turn["parts"]) if "text" in part]
        return str(texts[-1]) if texts else ""

    # ------------------------------------------------------------------------------------- the wire

    def wire(self, answer: Says, number: int, body: Mapping[str, object]) -> Wire:
        """Whole responses, each with the next words; tools whole; a thought that is not meant to be heard."""
        tokens = {
            "promptTokenCount": answer.input_tokens + answer.cached_tokens,
            "cachedContentTokenCount": answer.cached_tokens,
            "candidatesTokenCount": answer.output_tokens - 2,
            "thoughtsTokenCount": 2,
            "totalTokenCount": answer.input_tokens + answer.cached_tokens + answer.output_tokens,
        }

        def frame(parts: list[dict[str, object]], **more: object) -> bytes:
            candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
            return data_frame(
                {
                    "candidates": [candidate],
                    "usageMetadata": tokens,
                    "modelVersion": "fake-model",
                    "responseId": f"r{number}",
                },
                end="\r\n",
            )

        calls: list[dict[str, object]] = []
        for index, call in enumerate(answer.calls):
            call_id = call.id or f"fc_{number}_{index}"
            asked = {"id": call_id, "name": call.name, "args": call.arguments}
            calls.append({"functionCall": asked, "thoughtSignature": _signature(call_id)})
        head = [frame([{"text": "The user wants an answer.", "thought": True}])]
        words = [frame([{"text": word}]) for word in answer.words]
        last = frame(calls or [{"text": ""}], finishReason="STOP")
        if answer.is_withheld:
            blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": tokens}
            last = data_frame(blocked, end="\r\n")
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        return Wire(head, words, [last], failure=data_frame({"error": error}, end="\r\n"))


def _signature(call_id: str) -> str:
    return base64.b64encode(f"sealed {call_id}".encode()).decode()


class FakeVertex(FakeGemini):
    """The same in a project of Google Cloud: the key is an access token, and the path names project and location."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong token, 403 for somebody else's project."""
        if call.method == "HEAD":
            return None
        if call.headers.get("authorization") != f"Bearer {self.key}":
            return self.refused(
                401, "Request had invalid authentication credentials.", "ACCESS_TOKEN"
            )
        if "/projects/my-project/locations/" not in call.path:
            return self.refused(403, "Permission denied on resource project.", "CONSUMER_INVALID")
        return None
