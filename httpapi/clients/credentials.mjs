// Shows credentials with the npm clients graphql-ws and graphql-sse to a server of the
// schema that the tests try the transports with, and prints what they see.
//
//   node credentials.mjs http://localhost:8080/graphql http://localhost:8081
//
// At the second address is a token that ends within seconds, each time another one.
import { createClient as createSSE } from "graphql-sse";
import { createClient as createWS } from "graphql-ws";
import WebSocket from "ws";

const [url, tokens] = process.argv.slice(2);

const retry = { shouldRetry: () => true, retryAttempts: Infinity };
const once = { retryAttempts: 0 };
const pause = () => new Promise((done) => setTimeout(done, 50));
const kinds = {
  "graphql-ws": (credential, options) =>
    createWS({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, connectionParams: credential, retryWait: pause, ...options }),
  "graphql-sse": (credential, options) => createSSE({ url, headers: credential, retry: pause, ...options }),
};

const subscribe = (client, next) =>
  new Promise((resolve) => {
    client.subscribe({ query: "subscription { hangs }" }, {
      next,
      error: (error) => resolve(`${error.code ?? error.response?.status ?? error.message} ${error.reason ?? ""}`.trim()),
      complete: () => resolve("complete"),
    });
  });

const fresh = async () => ({ authorization: `Bearer ${await (await fetch(tokens)).text()}` });
const stale = await fresh(); // by the time that the others have ended

for (const [name, make] of Object.entries(kinds)) {
  for (const [what, credential] of [["nothing", {}], ["a wrong one", { authorization: "Bearer x" }]]) {
    console.log(`${name}, ${what}: ${await subscribe(make(credential, once))}`);
  }
}

// Each goes on until it has begun three times.
const told = await Promise.all(Object.entries(kinds).map(async ([name, make]) => {
  const lines = [];
  const closed = ({ code, reason }) => lines.push(`${name} closed ${code} ${reason}`);
  const client = make(fresh, { ...retry, on: { closed } });
  let begun = 0;
  await new Promise((resolve) => {
    subscribe(client, ({ data }) => {
      lines.push(`${name} begins with ${JSON.stringify(data)}`);
      ++begun === 3 && resolve();
    });
  });
  const seen = lines.join("\n");
  await client.dispose();
  return seen;
}));
console.log(told.join("\n"));

for (const [name, make] of Object.entries(kinds)) {
  console.log(`${name}, one that has ended: ${await subscribe(make(stale, once))}`);
}
process.exit();
