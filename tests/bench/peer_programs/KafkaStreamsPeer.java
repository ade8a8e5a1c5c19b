import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams with exactly_once_v2 and one thread: events that were seen before are dropped by their id, the others are counted by
 * type and day. Both are stores with changelogs. The topics are read twice by the same JVM; the second time is measured, with all
 * code compiled.
 *
 * <p>java -cp ... KafkaStreamsPeer BOOTSTRAP COUNT NAME STATE_DIR TOPIC...
 */
public final class KafkaStreamsPeer {
    private static final long COMMIT_MS = 100;
    private static final String SEEN = "seen";
    private static final String COUNTS = "counts";
    private static final AtomicLong DONE = new AtomicLong();
    private static final Map<String, Long> TOTALS = new TreeMap<>();

    private KafkaStreamsPeer() {}

    /** Counts the events of one partition of both topics, which are one task. */
    private static final class Counting implements Processor<byte[], byte[], Void, Void> {
        private final ObjectMapper json = new ObjectMapper();
        private KeyValueStore<String, byte[]> seen;
        private KeyValueStore<String, Long> counts;

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            seen = context.getStateStore(SEEN);
            counts = context.getStateStore(COUNTS);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                JsonNode event = json.readTree(record.value());
                if (seen.putIfAbsent(event.get("id").textValue(), new byte[0]) == null) {
                    String cell = event.get("type").textValue() + "|" + event.get("time").textValue().substring(0, 10);
                    Long before = counts.get(cell);
                    counts.put(cell, before == null ? 1L : before + 1);
                    synchronized (TOTALS) {
                        TOTALS.merge(cell, 1L, Long::sum);
                    }
                }
            } catch (java.io.IOException error) {
                throw new IllegalStateException(error);
            }
            DONE.incrementAndGet();
        }
    }

    private static Topology topology(List<String> topics) {
        Topology topology = new Topology();
        topology.addSource("events", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(),
            topics.toArray(new String[0]));
        topology.addProcessor("count", Counting::new, "events");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(SEEN), Serdes.String(), Serdes.ByteArray())
                .withCachingDisabled(), "count");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(COUNTS), Serdes.String(), Serdes.Long())
                .withCachingEnabled(), "count");
        return topology;
    }

    private static void read(String bootstrap, long count, String name, Path state, List<String> topics, boolean measured)
            throws Exception {
        DONE.set(0);
        TOTALS.clear();
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, COMMIT_MS);
        // The order of the events does not matter, so a task need not wait for the other topic's.
        settings.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, -1L);
        // Enough for a fetch; a partition with more is paused, and asked for again only when the next fetch has returned.
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 10);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 6000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "snappy");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 100);
        KafkaStreams streams = new KafkaStreams(topology(topics), settings);
        try {
            streams.start();
            boolean begun = false;
            while (DONE.get() < count) {
                if (!begun && measured && DONE.get() > 0) {
                    System.out.println("BEGIN");
                    begun = true;
                }
                Thread.sleep(1);
                if (streams.state() == KafkaStreams.State.ERROR) {
                    throw new IllegalStateException("the streams have failed");
                }
            }
            // The last records are committed within an interval.
            Thread.sleep(COMMIT_MS);
            if (measured) {
                System.out.println("END");
                System.out.println("COUNTS " + new ObjectMapper().writeValueAsString(TOTALS));
                // The memory is looked at before the process ends.
                System.in.read();
            }
        } finally {
            streams.close(Duration.ofSeconds(10));
        }
    }

    /** Reads everything twice. */
    public static void main(String[] arguments) throws Exception {
        long count = Long.parseLong(arguments[1]);
        Path state = Path.of(arguments[3]);
        List<String> topics = List.of(arguments).subList(4, arguments.length);
        read(arguments[0], count, arguments[2] + "-warm-up", state, topics, false);
        read(arguments[0], count, arguments[2], state, topics, true);
    }
}
