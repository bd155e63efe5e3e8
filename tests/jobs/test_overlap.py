"""Reading ahead and writing behind: what happens when, in which memory, and to errors."""

import errno
import threading
import time

import pytest
from job_host import wait_until
from restoreflow.jobs.overlap import Reader, Writer
from restoreflow.jobs.photos import DiskError, HeldUpError


class Told:
    """The engine's part: remembers what it was told."""

    def __init__(self) -> None:
        self.all = []

    def __getattr__(self, name: str):
        return lambda *given: self.all.append((name, *given))


@pytest.fixture
def told() -> Told:
    return Told()


def test_an_output_is_announced_saved_and_reported(told):
    writer = Writer(told)
    writer.put(1, "10", lambda announce: announce("a.png", "sha", ["It holds no IPTC."]))
    writer.close()
    assert told.all == [
        ("writing", 1, "10"),
        ("announce", 1, "10", "a.png", "sha", ["It holds no IPTC."]),
        ("saved", 1, "10"),
        ("written", 1, "10"),
    ]


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (ValueError("It has no colours."), ("failed", 1, "It has no colours.", True)),
        (OSError(errno.EACCES, "Permission denied"), ("failed", 1, "Permission denied.", False)),
        (DiskError("It is so."), ("failed", 1, "It is so.", False)),
        (OSError(errno.ENOSPC, "No space left"), ("held_up", 1, "No space left.")),
        (HeldUpError(None, "It is so."), ("held_up", 1, "It is so.")),
        (KeyError(), ("failed", 1, "KeyError.", False)),
    ],
)
def test_an_error_goes_to_the_photo_and_the_writer_goes_on(told, error, report):
    writer = Writer(told)

    def broken(announce) -> None:
        raise error

    writer.put(1, "10", broken)
    writer.put(2, "10", lambda announce: None)
    writer.close()
    assert report in told.all and ("saved", 1, "10") not in told.all
    assert ("written", 1, "10") in told.all and ("saved", 2, "10") in told.all


def test_only_so_many_outputs_wait(told):
    writer, gate, done = Writer(told, room=2), threading.Event(), []

    def put(number: int) -> None:
        def write(announce) -> None:
            gate.wait(10)
            done.append(number)

        writer.put(number, "10", write)

    def fill() -> None:
        for number in range(6):
            put(number)

    thread = threading.Thread(target=fill)
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()  # one is being written, two wait, the node waits with the fourth
    assert sum(name == "writing" for name, *_ in told.all) == 4
    gate.set()
    thread.join(10)
    writer.close()
    assert done == list(range(6))


def test_what_is_expected_is_read_ahead_within_the_room():
    read = []

    def reading(photo: int) -> bytes:
        read.append(photo)
        return bytes(10)

    reader = Reader(reading, len, room=15)
    assert reader.take(1) == bytes(10) and read == [1]
    reader.expect([2, 3, 4, 5])
    wait_until(lambda: read == [1, 2, 3])
    time.sleep(0.05)
    assert read == [1, 2, 3]  # the third would go too far beyond the room
    assert len(reader.take(2)) == 10
    wait_until(lambda: read == [1, 2, 3, 4])
    reader.expect([5])
    wait_until(lambda: read == [1, 2, 3, 4, 5] and list(reader._held) == [5])
    reader.close()
    assert reader.take(5) == bytes(10) and read[-2:] == [5, 5]


def test_one_being_read_is_waited_for_and_its_error_is_the_askers():
    gate, read = threading.Event(), []

    def reading(photo: int) -> bytes:
        read.append(photo)
        gate.wait(10)
        raise ValueError(f"{photo} is no photo")

    reader = Reader(reading, len)
    reader.expect([1])
    wait_until(lambda: read == [1])
    threading.Timer(0.05, gate.set).start()
    with pytest.raises(ValueError, match="1 is no photo"):
        reader.take(1)
    assert read == [1]
    reader.close()
