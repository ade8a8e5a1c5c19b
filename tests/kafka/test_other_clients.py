"""What others read is read by the plain Kafka clients of Node and Java, as their users install them."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from streams.embedded import jars
from tests.support import processes
from tests.support.events import lifecycle
from tests.support.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.kafka

#: Arguments: bootstrap, topic, how many records are there. Each ends once it has read so many, or after 30 s with 1.
NODE = """
const { Kafka, logLevel } = require('kafkajs');
const [bootstrap, topic, wanted] = process.argv.slice(2);
setTimeout(() => process.exit(1), 30000);
(async () => {
  const consumer = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR }).consumer({ groupId: topic + '-node' });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let count = 0;
  await consumer.run({ eachMessage: async ({ message }) => {
    JSON.parse(message.value.toString());
    if (++count == Number(wanted)) { console.log(count); process.exit(0); }
  } });
})().catch(error => { console.error(error); process.exit(1); });
"""
JAVA = """
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Read {
    public static void main(String[] arguments) {
        Properties options = new Properties();
        options.put("bootstrap.servers", arguments[0]);
        options.put("isolation.level", "read_committed");
        StringDeserializer text = new StringDeserializer();
        long end = System.currentTimeMillis() + 30000;
        int count = 0, wanted = Integer.parseInt(arguments[2]);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(options, text, text)) {
            List<TopicPartition> place = List.of(new TopicPartition(arguments[1], 0));
            consumer.assign(place);
            consumer.seekToBeginning(place);
            while (count < wanted && System.currentTimeMillis() < end) count += consumer.poll(Duration.ofMillis(200)).count();
        }
        System.out.println(count);
        System.exit(count == wanted ? 0 : 1);
    }
}
"""


def node(folder: Path) -> list[str]:
    """The command of a reader in Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node with npm on this machine")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "kafkajs@2.2.4"]
    done = processes.run(install, cwd=folder, timeout_s=120)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"kafkajs cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr
    (folder / "read.js").write_text(NODE)
    return ["node", str(folder / "read.js")]


def java(folder: Path) -> list[str]:
    """The command of a reader in Java; a JDK runs a source file as it is."""
    if shutil.which("javac") is None:
        pytest.skip("there is no JDK on this machine")
    (folder / "Read.java").write_text(JAVA)
    class_path = os.pathsep.join(map(str, jars.ensure_jars(lambda _line: None)))
    return ["java", "-cp", class_path, str(folder / "Read.java")]


@pytest.mark.parametrize("client", [node, java], ids=["node", "java"])
async def test_another_client_reads_every_milestone(
    client: Callable[[Path], list[str]], bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = Installation(bootstrap, prefix, tmp_path)
    installation.configure(
        '[[rule]]\nname = "one"\nmetric = "orders_placed"\nwindow = "day"\nscope = []\nreaches = 1\n'
    )
    await installation.create()
    try:
        installation.worker()
        await installation.publish(lifecycle(7, 60))
        await installation.applied()
    finally:
        installation.end()
    milestones = len(await installation.milestones())
    assert milestones > 3
    folder = tmp_path / "client"
    folder.mkdir()
    command = await asyncio.to_thread(client, folder)
    arguments = [*command, bootstrap, installation.catalogue.milestones.name, str(milestones)]
    done = await asyncio.to_thread(processes.run, arguments, cwd=folder, timeout_s=60)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, [str(milestones)]), done.stdout + done.stderr
