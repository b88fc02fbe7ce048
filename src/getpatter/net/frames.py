"""From WebSocket frames (RFC 6455, 5.2) to whole messages, and what a peer may not do on the way."""

from __future__ import annotations

from typing import Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport

Message = str | bytes


class HearsFrames(Protocol):
    """The socket, as its frames see it."""

    @property
    def is_closing(self) -> bool:
        """Whether one side has said goodbye."""
        ...

    def connected(self, transport: WSTransport) -> None:
        """The upgrade succeeded."""
        ...

    def heard(self) -> None:
        """Something arrived: the peer is alive."""
        ...

    def arrived(self, message: Message) -> None:
        """A whole message arrived."""
        ...

    def broke(self, code: int, what: str) -> None:
        """The peer broke the protocol."""
        ...

    def peer_closed(self, code: int, reason: str) -> None:
        """A close frame arrived; code 0 when it had none."""
        ...

    def flow(self, *, may_send: bool) -> None:
        """The transport's buffer is full, or has room again."""
        ...

    def lost(self) -> None:
        """The connection is gone; the last thing that happens."""
        ...


class FrameReader(WSListener):
    """What picows calls. Puts fragments together and leaves the rest to the socket."""

    def __init__(self, socket: HearsFrames, max_frame: int) -> None:
        """`max_frame`: bytes of the longest message, fragments together."""
        super().__init__()
        self._socket = socket
        self._max = max_frame
        self._parts: list[bytes] = []
        self._size = 0
        self._is_text = True
        self._is_deaf = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade succeeded."""
        self._socket.connected(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame arrived, pings excepted."""
        socket = self._socket
        if transport.is_close_frame_sent and not socket.is_closing:
            self._is_deaf = True  # picows found a fault, said so to the peer, and would read on
        if self._is_deaf:
            return
        socket.heard()
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._break(1002, "reserved bits are set")
        elif kind == WSMsgType.TEXT or kind == WSMsgType.BINARY:  # noqa: PLR1714 - compared thousands of times
            if self._parts:
                self._break(1002, "a new message inside another")
            elif frame.fin:
                self._hand_over(frame.get_payload_as_bytes(), is_text=kind == WSMsgType.TEXT)
            else:
                self._is_text = kind == WSMsgType.TEXT
                self._keep(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CONTINUATION:
            self._continue(frame)
        elif kind == WSMsgType.CLOSE:
            self._is_deaf = True
            reason = (frame.get_close_message() or b"").decode(errors="replace")
            socket.peer_closed(int(frame.get_close_code()), reason)  # type: ignore[call-overload]

    def _continue(self, frame: WSFrame) -> None:
        if not self._parts:
            self._break(1002, "a continuation of nothing")
            return
        self._keep(frame.get_payload_as_bytes())
        if self._size > self._max:
            self._break(1009, f"a message longer than {self._max} bytes")
        elif frame.fin:
            whole = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._hand_over(whole, is_text=self._is_text)

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)

    def _hand_over(self, payload: bytes, *, is_text: bool) -> None:
        if not is_text:
            self._socket.arrived(payload)
            return
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            self._break(1007, "a text message that is not UTF-8")
        else:
            self._socket.arrived(text)

    def _break(self, code: int, what: str) -> None:
        self._is_deaf = True
        self._parts.clear()
        self._socket.broke(code, what)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._socket.lost()

    def pause_writing(self) -> None:
        """The buffer is full."""
        self._socket.flow(may_send=False)

    def resume_writing(self) -> None:
        """The buffer has room again."""
        self._socket.flow(may_send=True)
