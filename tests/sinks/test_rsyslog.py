"""A stock rsyslog takes what we send, also when it is restarted in the middle. `scripts/rsyslog` brings it."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from sink_parts import Certificates, MemoryLog

from mcpgw.sinks.config import SyslogSink, Tls
from mcpgw.sinks.open import open_receiver
from mcpgw.sinks.outbox import event_of
from mcpgw.sinks.receiver import Receiver, SinkUnavailable

UNPACKED = Path(__file__).parents[2] / ".rsyslog"
MODULES = [*UNPACKED.glob("usr/lib/*/rsyslog/lmnsd_ossl.so")]

pytestmark = [pytest.mark.skipif(not MODULES, reason="run scripts/rsyslog first"), pytest.mark.slow]

CONFIG = """
global(workDirectory="{folder}" maxMessageSize="256k" defaultNetstreamDriver="ossl"
       defaultNetstreamDriverCAFile="{tls.ca}" defaultNetstreamDriverCertFile="{tls.server}"
       defaultNetstreamDriverKeyFile="{tls.server_key}")
main_queue(queue.timeoutShutdown="10000" queue.timeoutActionCompletion="10000")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="text" type="string" string="%msg%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{folder}/events.jsonl" template="text")
"""


@asynccontextmanager
async def rsyslog(folder: Path, port: int, certificates: Certificates) -> AsyncIterator[Process]:
    config = folder / "rsyslog.conf"
    config.write_text(CONFIG.format(folder=folder, tls=certificates, port=port))
    modules = MODULES[0].parent
    rsyslogd = str(UNPACKED / "usr/sbin/rsyslogd")
    command = [rsyslogd, "-n", "-f", str(config), "-i", str(folder / "pid"), "-M", str(modules)]
    libraries = {"LD_LIBRARY_PATH": str(modules.parent)}
    async with await anyio.open_process(command, env=libraries, stderr=None) as process:
        try:
            with anyio.fail_after(10):
                while True:
                    try:
                        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                        break
                    except OSError:
                        await anyio.sleep(0.05)
            yield process
        finally:
            process.terminate()


async def send_patiently(receiver: Receiver, log: MemoryLog, done: anyio.Event) -> None:
    for at in range(0, len(log.rows), 500):
        while True:
            try:
                await receiver.send([event_of(row) for row in log.rows[at : at + 500]])
                break
            except SinkUnavailable:
                await anyio.sleep(0.05)
    done.set()


async def test_rsyslog_writes_every_event_though_it_is_restarted_in_between(
    log: MemoryLog, tmp_path: Path, certificates: Certificates
) -> None:
    log.fill(5000)
    log.add(reason="x" * 60_000)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = SyslogSink(name="soc", url=f"tls://127.0.0.1:{port}", tls=Tls(ca=str(certificates.ca)))
    done = anyio.Event()
    with anyio.fail_after(30):
        async with open_receiver(config) as receiver, anyio.create_task_group() as tasks:
            async with rsyslog(tmp_path, port, certificates):
                tasks.start_soon(send_patiently, receiver, log, done)
                await anyio.sleep(0.05)  # somewhere in the middle: where exactly does not matter
            async with rsyslog(tmp_path, port, certificates):
                await done.wait()
    written = (tmp_path / "events.jsonl").read_text().splitlines()
    missing = set(range(5001)) - {json.loads(line)["metadata"]["sequence"] for line in written}
    assert not missing
