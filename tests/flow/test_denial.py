"""A refused account is asked once in a while, by one caller."""

from __future__ import annotations

import anyio

from worker.flow.denial import Denial

PROBE_SECONDS = 30.0


async def test_nobody_waits_while_nothing_is_refused():
    """Without a denial every operation goes through at once."""
    denial = Denial(PROBE_SECONDS)
    await denial.wait("Start", as_long_as=lambda: True)
    assert anyio.current_time() == 0


async def test_one_caller_in_a_while_probes_the_operation_that_was_refused():
    """Of many callers one goes through after each interval; those of other operations do not."""
    denial = Denial(PROBE_SECONDS)
    denial.begin("AccessDenied", "Start")
    probes: list[float] = []

    async def call(operation: str) -> None:
        while True:
            await denial.wait(operation, as_long_as=lambda: True)
            probes.append(anyio.current_time())
            assert operation == "Start"
            denial.begin("AccessDenied", operation)

    with anyio.move_on_after(95):
        async with anyio.create_task_group() as callers:
            for _ in range(20):
                callers.start_soon(call, "Start")
                callers.start_soon(call, "Get")
    assert [round(at) for at in probes] == [30, 60, 90]
    assert denial.times == 4


async def test_all_go_on_once_the_operation_went_through():
    """What was refused ends the denial when it goes through, nothing else does; whoever waits hears it soon."""
    denial = Denial(PROBE_SECONDS)
    denial.begin("AccessDenied", "Start")
    assert not denial.end("Get")
    with anyio.fail_after(32):
        await denial.wait("Start", as_long_as=lambda: True)
        async with anyio.create_task_group() as callers:
            callers.start_soon(lambda: denial.wait("Get", as_long_as=lambda: True))
            await anyio.sleep(0.1)
            assert denial.end("Start")
    assert denial.reason is None


async def test_waiting_ends_when_it_is_vain():
    """Whoever may not call any more does not wait for the probe."""
    denial = Denial(PROBE_SECONDS)
    denial.begin("AccessDenied", "Start")
    with anyio.fail_after(5):
        await denial.wait("Start", as_long_as=lambda: anyio.current_time() < 3)
    assert denial.reason is not None
