"""Kafka clients in other languages, as their users install them: they read what we publish, and we what they publish."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from streams.embedded import jars
from tests.support import processes
from tests.support.events import Published, lifecycle
from tests.support.installation import Installation
from tests.support.recount import recount
from tests.support.rules import rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.kafka

#: Arguments: bootstrap, topic, number of records. Each ends once it has read that many, or after 30 s with exit code 1.
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

#: Arguments: `read` and the three above; or `publish`, bootstrap, a file, a transactional id.
GO = """
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type line struct {
	Topic, Key, Value string
	Headers           [][2]string
	Aborted           bool
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(ctx context.Context, bootstrap, topic string, wanted int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	check(err)
	for count := 0; count < wanted; {
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		for _, record := range fetches.Records() {
			check(json.Unmarshal(record.Value, &map[string]any{}))
			count++
		}
	}
	fmt.Println(wanted)
}

func publish(ctx context.Context, bootstrap, path, id string) {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(),
		kgo.Lz4Compression(), kgo.ZstdCompression()}
	plain := make([]*kgo.Client, len(codecs))
	var err error
	for i, codec := range codecs {
		plain[i], err = kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codec))
		check(err)
	}
	atomic, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(id))
	check(err)
	file, err := os.Open(path)
	check(err)
	var kept, taken []*kgo.Record
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var one line
		check(json.Unmarshal(lines.Bytes(), &one))
		record := &kgo.Record{Topic: one.Topic, Key: []byte(one.Key), Value: []byte(one.Value), Timestamp: time.UnixMilli(0)}
		for _, header := range one.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header[0], Value: []byte(header[1])})
		}
		if one.Aborted {
			taken = append(taken, record)
		} else {
			kept = append(kept, record)
		}
	}
	half := len(kept) / 2
	for i, record := range kept[:half] {
		check(plain[i%len(plain)].ProduceSync(ctx, record).FirstErr())
	}
	for _, part := range []struct {
		records []*kgo.Record
		end     kgo.TransactionEndTry
	}{{taken, kgo.TryAbort}, {kept[half:], kgo.TryCommit}} {
		check(atomic.BeginTransaction())
		check(atomic.ProduceSync(ctx, part.records...).FirstErr())
		check(atomic.EndTransaction(ctx, part.end))
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	if os.Args[1] == "read" {
		wanted, err := strconv.Atoi(os.Args[4])
		check(err)
		read(ctx, os.Args[2], os.Args[3], wanted)
	} else {
		publish(ctx, os.Args[2], os.Args[3], os.Args[4])
	}
}
"""
#: Arguments: bootstrap, a file, a transactional id.
NODE_PUBLISHER = """
const { Kafka, CompressionTypes, Partitioners, logLevel } = require('kafkajs');
const [bootstrap, path, transactionalId] = process.argv.slice(2);
const records = require('fs').readFileSync(path, 'utf8').trim().split('\\n').map(line => JSON.parse(line));
const messages = part => part.map(({ topic, key, value, headers }) =>
  ({ topic, messages: [{ key, value, headers: Object.fromEntries(headers), timestamp: '0' }] }));
(async () => {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR });
  const kept = records.filter(record => !record.aborted), half = kept.length / 2;
  const plain = kafka.producer({ idempotent: true, createPartitioner: Partitioners.LegacyPartitioner });
  await plain.connect();
  await plain.sendBatch({ topicMessages: messages(kept.slice(0, half / 2)), compression: CompressionTypes.GZIP });
  await plain.sendBatch({ topicMessages: messages(kept.slice(half / 2, half)) });
  await plain.disconnect();
  const atomic = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
  await atomic.connect();
  const taken = await atomic.transaction();
  await taken.sendBatch({ topicMessages: messages(records.filter(record => record.aborted)) });
  await taken.abort();
  const committed = await atomic.transaction();
  await committed.sendBatch({ topicMessages: messages(kept.slice(half)) });
  await committed.commit();
  await atomic.disconnect();
})().catch(error => { console.error(error); process.exit(1); });
"""
JAVA_PUBLISHER = """
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import com.fasterxml.jackson.databind.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

public class Publish {
    static Producer<String, String> producer(String bootstrap, String codec, String id) {
        Properties options = new Properties();
        options.put("bootstrap.servers", bootstrap);
        options.put("compression.type", codec);
        if (id != null) options.put("transactional.id", id);
        StringSerializer text = new StringSerializer();
        return new KafkaProducer<>(options, text, text);
    }

    static ProducerRecord<String, String> record(JsonNode line) {
        String key = line.get("key").asText(), value = line.get("value").asText();
        ProducerRecord<String, String> made = new ProducerRecord<>(line.get("topic").asText(), null, 0L, key, value);
        for (JsonNode header : line.get("headers"))
            made.headers().add(header.get(0).asText(), header.get(1).asText().getBytes(StandardCharsets.UTF_8));
        return made;
    }

    public static void main(String[] arguments) throws Exception {
        List<ProducerRecord<String, String>> kept = new ArrayList<>(), taken = new ArrayList<>();
        ObjectMapper json = new ObjectMapper();
        for (String line : Files.readAllLines(Path.of(arguments[1]))) {
            JsonNode one = json.readTree(line);
            (one.get("aborted").asBoolean() ? taken : kept).add(record(one));
        }
        int place = 0, half = kept.size() / 2;
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
            try (Producer<String, String> plain = producer(arguments[0], codec, null)) {
                for (int i = place++; i < half; i += 5) plain.send(kept.get(i)).get();
            }
        try (Producer<String, String> atomic = producer(arguments[0], "zstd", arguments[2])) {
            atomic.initTransactions();
            atomic.beginTransaction();
            for (ProducerRecord<String, String> one : taken) atomic.send(one);
            atomic.flush();
            atomic.abortTransaction();
            atomic.beginTransaction();
            for (ProducerRecord<String, String> one : kept.subList(half, kept.size())) atomic.send(one);
            atomic.commitTransaction();
        }
    }
}
"""
#: librdkafka, which most other languages use; its default partitioner differs from the Java client's.
LIBRDKAFKA_PUBLISHER = """
import json, sys
from confluent_kafka import Producer

bootstrap, path, transactional_id = sys.argv[1:]
lines = [json.loads(line) for line in open(path)]
kept = [line for line in lines if not line["aborted"]]
half = len(kept) // 2

def made(codec, **options):
    return Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, **options})

def send(producer, line):
    headers = [(name, value.encode()) for name, value in line["headers"]]
    producer.produce(line["topic"], line["value"].encode(), line["key"].encode(), headers=headers, timestamp=1)

for place, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
    plain = made(codec)
    for line in kept[place:half:5]:
        send(plain, line)
    assert plain.flush(60) == 0
atomic = made("lz4", **{"transactional.id": transactional_id})
atomic.init_transactions(60)
for part, end in (([line for line in lines if line["aborted"]], "abort"), (kept[half:], "commit")):
    atomic.begin_transaction()
    for line in part:
        send(atomic, line)
    assert atomic.flush(60) == 0
    getattr(atomic, end + "_transaction")(60)
"""


def go(folder: Path) -> list[str]:
    """The command of the client in Go."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go on this machine")
    (folder / "go.mod").write_text("module client\n\ngo 1.21\n")
    (folder / "main.go").write_text(GO)
    environment = os.environ | {"GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}
    # Compiling without optimisation takes half as long.
    build = ["go", "build", "-gcflags=all=-N -l", "-o", "client", "."]
    for command in (["go", "get", "github.com/twmb/franz-go@v1.18.1"], build):
        done = processes.run(command, cwd=folder, env=environment, timeout_s=300)
        if done.returncode and command[1] == "get" and not os.environ.get("CI"):
            pytest.skip(f"franz-go cannot be had: {done.stderr.strip().splitlines()[-1:]}")
        assert done.returncode == 0, done.stderr
    return [str(folder / "client")]


def go_reader(folder: Path) -> list[str]:
    """The command of a reader in Go."""
    return [*go(folder), "read"]


def go_publisher(folder: Path) -> list[str]:
    """The command of a publisher in Go."""
    return [*go(folder), "publish"]


def node_publisher(folder: Path) -> list[str]:
    """The command of a publisher in Node."""
    node(folder)
    (folder / "publish.js").write_text(NODE_PUBLISHER)
    return ["node", str(folder / "publish.js")]


def java_publisher(folder: Path) -> list[str]:
    """The command of a publisher in Java."""
    command = java(folder)
    (folder / "Publish.java").write_text(JAVA_PUBLISHER)
    return [*command[:-1], str(folder / "Publish.java")]


def librdkafka_publisher(folder: Path) -> list[str]:
    """The command of a publisher on librdkafka."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--target", str(folder / "packages")]
    done = processes.run(
        [sys.executable, "-m", "pip", "install", *options, "confluent-kafka==2.16.1"], cwd=folder, timeout_s=180
    )
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"confluent-kafka cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr
    (folder / "packages" / "publish.py").write_text(LIBRDKAFKA_PUBLISHER)
    return [sys.executable, str(folder / "packages" / "publish.py")]


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


@pytest.mark.parametrize("client", [node, java, go_reader], ids=["node", "java", "go"])
async def test_another_client_reads_every_milestone(
    client: Callable[[Path], list[str]], bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    installation = Installation(bootstrap, prefix, tmp_path)
    installation.configure(rule("one", "orders_placed", scope=(), reaches=1))
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


async def test_what_other_clients_publish_is_counted_whatever_they_compress_and_partition_it_with(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    """Headers, every codec, idempotent producers, transactions that commit and that abort, timestamps of 1970."""
    async with Installation.created(bootstrap, tmp_path, prefix=prefix, partitions=3) as installation:
        published: list[Published] = []
        clients = {}
        for number, client in enumerate((go_publisher, node_publisher, java_publisher, librdkafka_publisher)):
            folder = tmp_path / client.__name__
            folder.mkdir()
            try:
                clients[folder] = await asyncio.to_thread(client, folder)
            except pytest.skip.Exception:
                continue
            records = list(lifecycle(20 + number, 12))
            kept = [as_line(installation, record, place) for place, record in enumerate(records)]
            taken = [as_line(installation, record, 0) | {"aborted": True} for record in lifecycle(40 + number, 3)]
            (folder / "records").write_text("".join(json.dumps(one) + "\n" for one in (*kept, *taken)))
            published += records
        if not clients:
            pytest.skip("there is none of them on this machine")
        installation.worker("w1")
        commands = [
            [*command, bootstrap, str(folder / "records"), f"{prefix}{folder.name}"]
            for folder, command in clients.items()
        ]
        done = await asyncio.gather(
            *(asyncio.to_thread(processes.run, command, cwd=tmp_path, timeout_s=120) for command in commands)
        )
        assert [(one.returncode, one.stderr) for one in done if one.returncode] == []
        await installation.applied()
        assert await installation.counts() == recount(record.value for record in published)
        books = await installation.books_balance()
        assert (books["read"], books["dead_letters"]) == (len(published), 0)


def as_line(installation: Installation, record: Published, place: int) -> dict[str, Any]:
    """A record for a publisher: every third one in binary mode, its attributes in headers."""
    topics = {"orders": installation.catalogue.orders.name, "deliveries": installation.catalogue.deliveries.name}
    event = json.loads(record.value)
    value, headers = record.value.decode(), [["content-type", "application/cloudevents+json; charset=UTF-8"]]
    if place % 3 == 0:
        value = json.dumps(event.pop("data"), ensure_ascii=False)
        headers = [["content-type", "application/json"], *([f"ce_{name}", text] for name, text in event.items())]
    key = (record.key or b"").decode()
    return {"topic": topics[record.topic], "key": key, "value": value, "headers": headers, "aborted": False}
