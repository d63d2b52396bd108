// Sends events and reads lists with the types that openapi-typescript has made.
import createClient from "openapi-fetch";
import type { components, paths } from "./slipstream.js";

const address = process.env.SLIPSTREAM!;
const client = createClient<paths>({
  baseUrl: address,
  headers: { Authorization: `bearer ${process.env.SLIPSTREAM_KEY}` },
});

function check(ok: unknown, what: unknown): asserts ok {
  if (!ok) throw new Error(JSON.stringify(what));
}

const item = await client.PUT("/v1/items/{id}", {
  params: { path: { id: "film-ts" } },
  body: { title: "Paper Moon", genres: ["Comedy"] },
});
check(item.data?.kind === "item.updated.v1", item.error);
const friends = await client.PUT("/v1/users/{id}/friends/{friend}", {
  params: { path: { id: "ann", friend: "carl" } },
  body: {},
});
check(friends.data, friends.error);

const like: components["schemas"]["interaction.recorded.v1"] = {
  user_id: "ann", item_id: "film-ts", action: "like",
};
const one = await client.POST("/v1/events", { body: like });
check(one.data?.accepted === 1, one.error);
const two = await client.POST("/v1/events", {
  body: [like, { kind: "friendship.added.v1", user_id: "ann", friend_id: "dora" }],
});
check(two.data?.accepted === 2, two.error);

const list = await client.GET("/v1/users/{id}/recommendations", {
  params: { path: { id: "ann" }, query: { n: 3 } },
});
check(list.data?.user_id === "ann" && list.data.recommendation_id, list.error);
const trending = await client.GET("/v1/trending");
check(trending.data?.user_id === "", trending.error);

const stranger = createClient<paths>({ baseUrl: address });
const refused = await stranger.GET("/v1/trending");
check(refused.response.status === 401 && refused.error?.detail, refused);
console.log("typescript: ok");
