"""What a program may do to a running call: `CallControl`."""

from __future__ import annotations

from typing import Literal, Protocol

from getpatter.types import is_e164, masked


class ControlledLine(Protocol):
    """The call behind a `CallControl`."""

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        ...

    @property
    def is_handed_over(self) -> bool:
        """Whether the caller is being transferred, or was."""
        ...

    async def transfer(
        self, number: str, *, mode: str, summary: str, allow_any: bool
    ) -> dict[str, object]:
        """Connect the caller to somebody else; the carrier's answer decides."""
        ...

    async def hang_up(self) -> None:
        """End the call once the words already queued have been heard."""
        ...

    async def send_dtmf(self, digits: str, *, delay_ms: int) -> None:
        """Play keys to the other side."""
        ...

    async def collect_digits(self, most: int | None, *, finish_on: str, patience: float) -> str:
        """Keys that the caller presses from now on, for the program alone."""
        ...


class CallControl:
    """A running call, in the hands of `on_message`, a tool or a callback.

    After the call has ended its methods do nothing and return.
    """

    def __init__(
        self,
        line: ControlledLine,
        *,
        call_id: str,
        caller: str,
        callee: str,
        telephony_provider: str,
    ) -> None:
        """Made by the SDK, once for each call."""
        self._line = line
        self.call_id = call_id
        self.caller = caller
        self.callee = callee
        self.telephony_provider = telephony_provider
        self._was_hung_up = False

    def __repr__(self) -> str:
        return f"CallControl(call_id={self.call_id!r}, caller={masked(self.caller)!r})"

    @property
    def is_transferred(self) -> bool:
        """Whether the caller is being handed on, or was. False again when nobody took them."""
        return self._line.is_handed_over

    @property
    def is_hung_up(self) -> bool:
        """Whether this side has asked to hang up."""
        return self._was_hung_up

    @property
    def ended(self) -> bool:
        """Whether the call is over, for any reason."""
        return self._line.is_over

    async def transfer(
        self,
        number: str,
        *,
        mode: Literal["cold", "warm"] = "cold",
        summary: str = "",
        allow_any: bool = False,
    ) -> dict[str, object]:
        """Connect the caller to `number`, after the words already queued were heard.

        Args:
            number: E.164, or a `sip:` URI that the agent's `transfer_allow` lists.
            mode: `"cold"` hands over at once; `"warm"` speaks `summary` to the target first.
            summary: What a warm transfer's target is told.
            allow_any: Skip the agent's `transfer_allow` list. Never set it for a number a model chose.

        Returns:
            `{"status": "transferring", "mode", "to"}`, or `{"error", "status": "failed" | "rejected"}`; then the
            conversation goes on.

        Raises:
            ValueError: `number` is neither E.164 nor a SIP URI.
        """
        if not is_e164(number) and not number.startswith(("sip:", "sips:")):
            raise ValueError(
                f"{masked(number)!r} is not a phone number: write it like +15550001234 (E.164)"
            )
        if self._line.is_over:
            return {"error": "call ended", "status": "failed"}
        return await self._line.transfer(number, mode=mode, summary=summary, allow_any=allow_any)

    async def hangup(self) -> None:
        """End the call once the speech already queued was heard (10 s bound). Idempotent.

        Called from `on_message` or a tool it returns at once, and what is said after it is still heard.
        """
        if self._was_hung_up or self._line.is_over:
            return
        self._was_hung_up = True
        await self._line.hang_up()

    async def send_dtmf(self, digits: str, *, delay_ms: int = 300) -> None:
        """Play keys to the other side: `0-9 A-D * #`; `w` pauses half a second.

        Raises:
            ValueError: another character, or a negative delay.
        """
        if not digits or any(key not in "0123456789ABCD*#w" for key in digits):
            raise ValueError("send_dtmf takes 0-9, A-D, *, # and w (a pause of 0.5 s)")
        if delay_ms < 0:
            raise ValueError(f"delay_ms must not be negative, got {delay_ms}")
        if not self._line.is_over:
            await self._line.send_dtmf(digits, delay_ms=delay_ms)

    async def collect_digits(
        self,
        max_digits: int | None = None,
        *,
        finish_on: str = "#",
        timeout: float = 10.0,  # noqa: ASYNC109 - between two keys
    ) -> str:
        """What the caller keys from now on: a PIN, a card number. Only the caller of this method gets it.

        The keys are in no transcript, history, record, log, event or flight recording, and no model sees them.
        Keys that were pressed before do not count. A recording of the call's sound may hold their tones.

        Args:
            max_digits: Return after so many keys; `None`: as many as come.
            finish_on: Keys that end the entry and are not part of it; `""`: none does.
            timeout: Seconds without a key, counted from the end of what the agent is saying.

        Returns:
            The keys pressed (`0-9 A-D * #`), perhaps fewer than `max_digits`; `""` when none was, or the call is over.

        Raises:
            ValueError: `max_digits` is below 1, or `timeout` is not positive.
        """
        if max_digits is not None and max_digits < 1:
            raise ValueError(f"max_digits must be at least 1, got {max_digits}")
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, got {timeout}")
        if self._line.is_over:
            return ""
        return await self._line.collect_digits(max_digits, finish_on=finish_on, patience=timeout)
