import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams: a windowed KStream-KStream join in RocksDB, then a sum by model version in RocksDB.
 *
 * Events are parsed token by token and cut to what a pair needs before they are stored. Form "dsl" sums as its
 * documentation has it, groupBy and aggregate, whose pairs travel through a repartition topic. Form "tuned" sums by
 * partition, in a processor of its own, and writes what has changed once a second.
 */
public final class KafkaStreamsPeer {
    private static final JsonFactory JSON = new JsonFactory();
    private static final LongAdder SEEN = new LongAdder();

    public static void main(String[] arguments) throws Exception {
        Map<String, String> peer = new LinkedHashMap<>();
        try (JsonParser parser = JSON.createParser(System.getenv("PEER"))) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                parser.nextToken();
                peer.put(name, parser.getText());
            }
        }
        StreamsBuilder builder = new StreamsBuilder();
        long window = Long.parseLong(peer.get("window"));
        Consumed<String, byte[]> bytes = Consumed.with(Serdes.String(), Serdes.ByteArray());
        KStream<String, byte[]> predictions = builder.stream(peer.get("predictions"), bytes).mapValues(KafkaStreamsPeer::read);
        KStream<String, byte[]> outcomes = builder.stream(peer.get("outcomes"), bytes).mapValues(KafkaStreamsPeer::read);
        KStream<String, byte[]> pairs = predictions
                .join(outcomes, (prediction, outcome) -> pair(prediction, outcome, window),
                        JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofMillis(Long.parseLong(peer.get("life")))),
                        StreamJoined.with(Serdes.String(), Serdes.ByteArray(), Serdes.ByteArray()))
                .filter((key, value) -> value != null);
        KStream<String, String> totals = peer.get("form").equals("tuned") ? byPartition(builder, pairs) : byModel(pairs);
        totals.to(peer.get("output"), Produced.with(Serdes.String(), Serdes.String()));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties(peer));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(15))));
        streams.start();
        while (true) {
            System.out.println("events " + SEEN.sum());
            Thread.sleep(500);
        }
    }

    private static KStream<String, String> byPartition(StreamsBuilder builder, KStream<String, byte[]> pairs) {
        builder.addStateStore(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore("counts"), Serdes.String(), Serdes.ByteArray()).withCachingEnabled());
        return pairs.process(Sum::new, "counts");
    }

    private static KStream<String, String> byModel(KStream<String, byte[]> pairs) {
        return pairs
                .groupBy((key, pair) -> new String(pair, 1, pair.length - 1, StandardCharsets.UTF_8),
                        Grouped.with(Serdes.String(), Serdes.ByteArray()))
                .aggregate(() -> new byte[16], (key, pair, before) -> add(before, pair[0]),
                        Materialized.with(Serdes.String(), Serdes.ByteArray()))
                .toStream()
                .mapValues(total -> json(ByteBuffer.wrap(total).getLong(), ByteBuffer.wrap(total, 8, 8).getLong()));
    }

    private static byte[] add(byte[] before, byte correct) {
        ByteBuffer total = ByteBuffer.wrap(before);
        return ByteBuffer.allocate(16).putLong(total.getLong() + 1).putLong(total.getLong() + correct).array();
    }

    private static String json(long joined, long correct) {
        return "{\"joined\":" + joined + ",\"correct\":" + correct + "}";
    }

    private static Properties properties(Map<String, String> peer) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, peer.get("group"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, peer.get("bootstrap"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, peer.get("state"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, peer.get("guarantee"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 2000);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, peer.get("threads"));
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 << 20);
        properties.put("auto.offset.reset", "earliest");
        return properties;
    }

    /** What of an event a pair needs: its time, its label, and "model|version" where it is a prediction. */
    private static byte[] read(byte[] value) {
        SEEN.increment();
        String model = "", version = "";
        boolean label = false;
        long at = 0;
        try (JsonParser parser = JSON.createParser(value)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String name = parser.currentName();
                JsonToken token = parser.nextToken();
                switch (name) {
                    case "model_id" -> model = parser.getText();
                    case "model_version" -> version = parser.getText();
                    case "timestamp" -> at = parser.getLongValue();
                    case "actual_outcome" -> label = token == JsonToken.VALUE_TRUE;
                    case "prediction" -> label = label(parser);
                    default -> parser.skipChildren();
                }
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        byte[] whose = (model + "|" + version).getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(9 + whose.length).putLong(at).put((byte) (label ? 1 : 0)).put(whose).array();
    }

    private static boolean label(JsonParser parser) throws IOException {
        boolean label = false;
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String name = parser.currentName();
            JsonToken token = parser.nextToken();
            label |= name.equals("label") && token == JsonToken.VALUE_TRUE;
        }
        return label;
    }

    /** Right or wrong, and whose; null where the outcome came after the window. */
    private static byte[] pair(byte[] prediction, byte[] outcome, long window) {
        long delay = ByteBuffer.wrap(outcome).getLong() - ByteBuffer.wrap(prediction).getLong();
        if (delay < 0 || delay > window) {
            return null;
        }
        return ByteBuffer.allocate(prediction.length - 8)
                .put((byte) (prediction[8] == outcome[8] ? 1 : 0)).put(prediction, 9, prediction.length - 9).array();
    }

    /** Counts the pairs of one partition by model version; what has changed is written once a second. */
    private static final class Sum implements Processor<String, byte[], String, String> {
        private final Map<String, byte[]> changed = new LinkedHashMap<>();
        private ProcessorContext<String, String> context;
        private KeyValueStore<String, byte[]> counts;

        @Override
        public void init(ProcessorContext<String, String> context) {
            this.context = context;
            counts = context.getStateStore("counts");
            context.schedule(Duration.ofSeconds(1), PunctuationType.WALL_CLOCK_TIME, this::emit);
        }

        @Override
        public void process(Record<String, byte[]> pair) {
            byte[] value = pair.value();
            String key = new String(value, 1, value.length - 1, StandardCharsets.UTF_8) + "|" + context.taskId().partition();
            byte[] stored = counts.get(key);
            byte[] total = add(stored == null ? new byte[16] : stored, value[0]);
            counts.put(key, total);
            changed.put(key, total);
        }

        private void emit(long now) {
            changed.forEach((key, total) -> context.forward(new Record<>(
                    key, json(ByteBuffer.wrap(total).getLong(), ByteBuffer.wrap(total, 8, 8).getLong()), now)));
            changed.clear();
        }
    }
}
