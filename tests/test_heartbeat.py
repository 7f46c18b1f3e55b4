"""Heartbeats in virtual time: one timer, many connections."""

from __future__ import annotations

import pytest
from tools.virtual_time import Hub

from geventws.heartbeat import Heartbeats


class Patient:
    def __init__(self, loop, *, answers=True):
        self.loop = loop
        self.answers = answers
        self.is_listening = True
        self.stuck_since = None
        self.last_received = loop.now
        self.pinged = []
        self.died = None
        self.pulse = None
        self.heartbeats = None

    def send_heartbeat(self):
        self.pinged.append(self.loop.now - 1000)
        if self.answers:
            self.last_received = self.loop.now

    def peer_is_dead(self, why):
        self.died = self.loop.now - 1000
        self.why = why
        self.heartbeats.remove(self.pulse)


@pytest.fixture
def loop():
    hub = Hub()
    hub.loop.heartbeats = Heartbeats(hub, lambda: hub.loop.now)
    return hub.loop


def watch(loop, interval, timeout, **options):
    patient = Patient(loop, **options)
    patient.heartbeats = loop.heartbeats
    patient.pulse = loop.heartbeats.add(patient, interval, timeout)
    return patient


def test_a_silent_connection_is_pinged_every_interval(loop):
    patient = watch(loop, 20, 10)
    loop.advance(65)
    assert patient.pinged == [20, 40, 60]
    assert patient.died is None


def test_a_peer_that_does_not_answer_is_dead_after_interval_and_timeout(loop):
    patient = watch(loop, 20, 10, answers=False)
    loop.advance(29.9)
    assert patient.died is None
    loop.advance(0.2)
    assert patient.pinged == [20]
    assert patient.died == pytest.approx(30)
    assert loop.timers == []


def test_any_received_byte_counts_as_life(loop):
    patient = watch(loop, 20, 10, answers=False)
    for _ in range(30):
        loop.advance(5)
        patient.last_received = loop.now
    assert patient.pinged == []
    loop.advance(25)
    patient.last_received = loop.now
    loop.advance(10)
    assert patient.pinged == [170]
    assert patient.died is None


def test_a_timeout_longer_than_the_interval_is_waited_for(loop):
    patient = watch(loop, 5, 60, answers=False)
    loop.advance(64)
    assert patient.died is None
    loop.advance(2)
    assert patient.died == pytest.approx(65)


def test_a_ping_comes_after_each_interval_of_silence_though_the_timeout_is_longer(loop):
    patient = watch(loop, 5, 60)
    loop.advance(21)
    assert patient.pinged == [5, 10, 15, 20]


def test_without_a_timeout_nobody_is_dead(loop):
    patient = watch(loop, 20, None, answers=False)
    loop.advance(85)
    assert patient.pinged == [20, 40, 60, 80]
    assert patient.died is None


def test_a_connection_that_does_not_read_is_left_alone(loop):
    patient = watch(loop, 20, 10, answers=False)
    loop.advance(25)
    patient.is_listening = False
    loop.advance(100)
    assert patient.pinged == [20]
    assert patient.died is None
    patient.is_listening = True
    loop.advance(60)
    assert len(patient.pinged) == 2
    assert patient.died is not None


def test_a_connection_that_neither_reads_nor_can_write_is_dead_after_both_times(loop):
    patient = watch(loop, 20, 10)
    patient.is_listening = False
    loop.advance(45)
    patient.stuck_since = loop.now
    loop.advance(29)
    assert patient.died is None
    loop.advance(2)
    assert patient.died == 75
    assert patient.why == "the peer took nothing for 30 s"


def test_a_peer_that_takes_something_now_and_then_lives(loop):
    patient = watch(loop, 20, 10)
    patient.is_listening = False
    for _ in range(10):
        patient.stuck_since = loop.now
        loop.advance(29)
    assert patient.died is None


def test_without_a_timeout_a_peer_that_takes_nothing_is_not_dead(loop):
    patient = watch(loop, 20, None)
    patient.is_listening = False
    patient.stuck_since = loop.now
    loop.advance(500)
    assert patient.died is None


def test_the_timer_is_armed_for_the_one_that_is_due_first(loop):
    slow = watch(loop, 50, 10)
    quick = watch(loop, 20, 10)
    loop.advance(55)
    assert quick.pinged == [20, 40]
    assert slow.pinged == [50]


def test_nothing_is_left_when_the_last_connection_goes(loop):
    patients = [watch(loop, 20, 10) for _ in range(3)]
    for patient in patients:
        loop.heartbeats.remove(patient.pulse)
        loop.heartbeats.remove(patient.pulse)
    assert loop.timers == []
    loop.advance(100)
    assert [patient.pinged for patient in patients] == [[], [], []]


def test_one_that_is_gone_is_skipped(loop):
    gone, stays = watch(loop, 20, 10), watch(loop, 20, 10)
    loop.heartbeats.remove(gone.pulse)
    loop.advance(25)
    assert gone.pinged == []
    assert stays.pinged == [20]


def test_pulses_that_are_gone_are_forgotten_before_they_are_due(loop):
    stays = watch(loop, 20, 10)
    for _ in range(1000):
        loop.heartbeats.remove(watch(loop, 20, 10).pulse)
    assert len(loop.heartbeats._pulses) < 200
    loop.advance(20)
    assert stays.pinged == [20]


def test_a_connection_that_ends_while_it_is_pinged_is_not_pinged_again(loop):
    patient = watch(loop, 20, 10)
    stays = watch(loop, 20, 10)
    patient.send_heartbeat = lambda: (patient.pinged.append(loop.now), loop.heartbeats.remove(patient.pulse))
    loop.advance(100)
    assert len(patient.pinged) == 1
    assert len(stays.pinged) == 5


def test_a_stopped_pulse_has_nothing_to_do(loop):
    patient = watch(loop, 20, 10)
    loop.heartbeats.remove(patient.pulse)
    assert patient.pulse.beat(loop.now) is None


def test_all_can_be_stopped_at_once(loop):
    patients = [watch(loop, 20, 10) for _ in range(3)]
    loop.heartbeats.stop()
    assert loop.timers == []
    loop.advance(100)
    assert [patient.pinged for patient in patients] == [[], [], []]
    loop.heartbeats.remove(patients[0].pulse)
    another = watch(loop, 20, 10)
    loop.advance(25)
    assert another.pinged == [120]


def test_what_a_peer_said_while_the_hub_was_held_is_read_before_it_is_judged(loop):
    patient = watch(loop, 20, 10, answers=False)
    loop.advance(20)
    loop.now += 60  # the timer is late, and so is the pong, which lies in the kernel
    loop.advance(0)
    assert patient.died is None
    patient.last_received = loop.now
    loop.advance(20)
    assert patient.died is None
    assert patient.pinged == [20, 100]


def test_a_hub_that_was_held_finds_a_dead_peer_all_the_same(loop):
    patient = watch(loop, 20, 10, answers=False)
    loop.advance(20)
    loop.now += 60
    loop.advance(0.01)
    assert 80 <= patient.died <= 80.01
