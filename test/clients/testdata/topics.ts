// Writes events to the topics and reads everything from them, with the types that modelina has made
// of the AsyncAPI document. What a type does not know of a value, or writes otherwise, is an error.
import { isDeepStrictEqual } from "node:util";
import { CompressionCodecs, CompressionTypes, Kafka, logLevel, Partitioners } from "kafkajs";
import { compressFrame, decompressFrame } from "lz4-napi";
import { FriendshipAdded } from "./models/FriendshipAdded";
import { FriendshipRemoved } from "./models/FriendshipRemoved";
import { Interaction } from "./models/Interaction";
import { ItemUpdated } from "./models/ItemUpdated";
import { ItemWithdrawn } from "./models/ItemWithdrawn";
import { Recommendation } from "./models/Recommendation";
import { Trending } from "./models/Trending";
import { UserErased } from "./models/UserErased";
import { UserUpdated } from "./models/UserUpdated";

interface Value {
  marshal(): string;
}

const types: Record<string, { unmarshal(json: string): Value }> = {
  "friendship.added.v1": FriendshipAdded, "friendship.removed.v1": FriendshipRemoved,
  "interaction.recorded.v1": Interaction, "item.updated.v1": ItemUpdated,
  "item.withdrawn.v1": ItemWithdrawn, "recommendation.served.v1": Recommendation,
  "trending.computed.v1": Trending, "user.erased.v1": UserErased, "user.updated.v1": UserUpdated,
};

// kafkajs does not bring the compression of our records.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder: { buffer: Buffer }) => compressFrame(encoder.buffer),
  decompress: decompressFrame,
});

const kafka = new Kafka({
  clientId: "topics", brokers: [process.env.SLIPSTREAM_KAFKA!], logLevel: logLevel.ERROR,
});
const user = "tess", item = "film-topics", event = "topics-1", time = new Date().toISOString();

async function write(): Promise<void> {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const send = (topic: string, kind: string, key: string, id: string, value: Value) =>
    producer.send({
      topic, acks: -1,
      messages: [{
        key, value: value.marshal(),
        headers: {
          ce_specversion: "1.0", ce_id: id, ce_source: "topics.ts", ce_type: kind, ce_time: time,
        },
      }],
    });
  await send("items", "item.updated.v1", item, "topics-2", new ItemUpdated({
    itemId: item, title: "The Long Reel", genres: ["Drama"], attributes: { minutes: 101 },
  }));
  await send("users", "user.updated.v1", user, "topics-3", new UserUpdated({
    userId: user, attributes: { country: "NL" },
  }));
  await send("friendships", "friendship.added.v1", `ann|${user}`, "topics-4", new FriendshipAdded({
    userId: user, friendId: "ann",
  }));
  await send("interactions", "interaction.recorded.v1", user, event, new Interaction({
    userId: user, itemId: item, action: "rate", value: 4.5, context: { device: "tv" },
  }));
  await producer.disconnect();
}

// unknown returns the fields of a value, or of one within it, that its type does not have.
function unknown(value: unknown): string[] {
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([name, x]) =>
    name === "_additionalProperties" ? [...((x as Map<string, unknown>)?.keys() ?? [])]
      : x instanceof Map ? [] : unknown(x));
}

async function read(): Promise<void> {
  const consumer = kafka.consumer({ groupId: `topics-${process.pid}` });
  await consumer.connect();
  const topics = [
    "interactions", "friendships", "items", "users", "recommendations", "recommendations.current",
    "trending",
  ];
  await consumer.subscribe({ topics, fromBeginning: true });
  const missing = new Set(topics);
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`missing: ${[...missing]}`)), 120_000);
    consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error));
    consumer.run({
      eachMessage: async ({ topic, message }) => {
        if (message.value === null) return;
        const kind = String(message.headers?.ce_type);
        const text = message.value.toString();
        const value = types[kind]?.unmarshal(text);
        if (!value) return reject(new Error(`${topic}: a record of kind ${kind}`));
        const extra = unknown(value);
        if (extra.length > 0 || !isDeepStrictEqual(JSON.parse(value.marshal()), JSON.parse(text))) {
          return reject(new Error(`${topic}: ${value.marshal()} of ${text}, unknown: ${extra}`));
        }
        const ours =
          value instanceof Recommendation
            ? value.userId === user && value.causedBy.eventId === event && value.items.length > 0
            : value instanceof Trending ? (value.items ?? []).some((x) => x.itemId === item)
              : value instanceof Interaction ? value.userId === user && value.value === 4.5
                : value instanceof ItemUpdated ? value.itemId === item
                  : value instanceof UserUpdated || value instanceof FriendshipAdded
                    ? value.userId === user : false;
        if (ours) missing.delete(topic);
        if (missing.size === 0) {
          clearTimeout(late);
          resolve();
        }
      },
    }).catch(reject);
  });
  await consumer.disconnect();
}

async function main(): Promise<void> {
  await write();
  await read();
  console.log("topics: ok");
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
