"""The socket to the daemon. Only the sender thread may touch a Link; `Alarm.ring` alone is for everybody."""

from __future__ import annotations

import contextlib
import os
import uuid

import zmq

from trainer_hooks.wire.codec import FRAME_BYTES_MAX

FRAMES_QUEUED_MAX = 32  # in ZeroMQ, on top of the ring: 3.2 s of frames, 8 MB at the very most
MESSAGES_READ_MAX = 64  # per round: a daemon that floods us must not keep us from sending
RECONNECT_MIN_MS = 100
RECONNECT_MAX_MS = 2_000


class Alarm:
    """Wakes a thread that waits in `Link.wait`, from any thread, without blocking.

    Never closed: a late `ring` would write into whatever file got the number of the closed pipe.
    """

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        os.set_blocking(self._write_end, False)

    def ring(self) -> None:
        """Wake the waiting thread now, or at once when it begins to wait."""
        with contextlib.suppress(BlockingIOError):  # the pipe is full: it has been rung 65,536 times and wakes anyway
            os.write(self._write_end, b"!")

    def clear(self) -> None:
        """It has been rung; what does not fit into this one read rings again."""
        with contextlib.suppress(BlockingIOError):  # nobody rang
            os.read(self.read_end, 4096)


class Link:
    """A DEALER socket that never blocks. Without a daemon it queues nothing: the ring keeps the newest records."""

    def __init__(self, address: str, alarm: Alarm) -> None:
        self._alarm = alarm
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        try:
            self._set_up(address)
        except BaseException:
            self.close()
            raise

    def _set_up(self, address: str) -> None:
        self._socket.setsockopt(zmq.ROUTING_ID, b"tw" + uuid.uuid4().bytes)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.SNDHWM, FRAMES_QUEUED_MAX)
        self._socket.setsockopt(zmq.RCVHWM, MESSAGES_READ_MAX)
        self._socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MIN_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        self._socket.connect(address)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._alarm.read_end, zmq.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Until a message comes, the alarm rings, or the time is over. True: there is a message to `receive`."""
        message = False
        for source, _ in self._poller.poll(round(timeout_s * 1000)):
            if source is self._socket:
                message = True
            else:
                self._alarm.clear()
        return message

    @property
    def writable(self) -> bool:
        """True: a daemon is connected, and less than FRAMES_QUEUED_MAX frames wait for it."""
        events = self._socket.getsockopt(zmq.EVENTS)
        return isinstance(events, int) and bool(events & zmq.POLLOUT)

    def send(self, data: bytes) -> bool:
        """Hand a frame to ZeroMQ. False: it has no room or no peer, keep the frame. True does not mean delivered."""
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[bytes]:
        """What the daemon sent since the last call, at most MESSAGES_READ_MAX messages."""
        messages: list[bytes] = []
        with contextlib.suppress(zmq.Again):  # nothing more has come
            while len(messages) < MESSAGES_READ_MAX:
                messages.append(self._socket.recv(zmq.NOBLOCK))
        return messages

    def close(self) -> None:
        """Throw away what ZeroMQ still holds and end its thread; linger is 0, so this does not wait for a peer."""
        self._socket.close(linger=0)
        self._context.term()
