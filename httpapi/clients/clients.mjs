// Runs the npm clients graphql-ws and graphql-sse against a server of the schema
// that the tests try the transports with, and prints what they see.
//
//   node clients.mjs http://localhost:8080/graphql
import { createClient as createSSE } from "graphql-sse";
import { createClient as createWS } from "graphql-ws";
import WebSocket from "ws";

const url = process.argv[2];
const socketURL = url.replace("http", "ws");

const socket = (options = {}) => createWS({ url: socketURL, webSocketImpl: WebSocket, retryAttempts: 0, ...options });
const events = () => createSSE({ url, retryAttempts: 0 });

const codes = (errors) => errors.map((error) => error.extensions.code).join(" ");

// What the client's sink is told of one operation.
function observe(client, query, variables, each = () => {}) {
  return new Promise((resolve) => {
    const told = [];
    const tell = (text) => told.push(text);
    client.subscribe({ query, variables }, {
      next: (result) => {
        tell(result.errors ? codes(result.errors) : JSON.stringify(result.data));
        each();
      },
      error: (error) => {
        tell(Array.isArray(error) ? `error ${codes(error)}` : `closed ${error.code ?? error.message} ${error.reason ?? ""}`.trim());
        resolve(told.join(", "));
      },
      complete: () => {
        tell("complete");
        resolve(told.join(", "));
      },
    });
  });
}

for (const [name, client] of [["graphql-ws", socket()], ["graphql-sse", events()]]) {
  for (const [query, variables] of [
    ["{ hello }"],
    ["mutation { touch }"],
    ["subscription($to: Int!) { count(to: $to) }", { to: 3 }],
    ["subscription { nothing }"],
    ["subscription($to: Int!) { count(to: $to) }", { to: "x" }],
    ["subscription { refused }"],
    ["subscription { breaks }"],
  ]) {
    console.log(`${name} ${query}: ${await observe(client, query, variables)}`);
  }
  // A subscription that is left by the client, and another one on the same socket.
  for await (const result of client.iterate({ query: "subscription { hangs }" })) {
    console.log(`${name} leaves after ${JSON.stringify(result.data)}`);
    break;
  }
  console.log(`${name} goes on: ${await observe(client, "{ hello }")}`);
  client.dispose();
}

// Many operations side by side over one socket.
const shared = socket();
const side = await Promise.all([...Array(10)].map((_, i) => observe(shared, `subscription { count(to: ${i}) }`)));
console.log(`side by side: ${side.map((told) => told.split(", ").length - 1).join(" ")}`);
await shared.dispose();

// The ends that the protocol knows, on bare sockets.
function closing(protocol, ...messages) {
  return new Promise((resolve) => {
    const bare = new WebSocket(socketURL, protocol);
    bare.on("open", () => messages.forEach((message) => bare.send(message)));
    bare.on("close", (code, reason) => resolve(`${code} ${reason}`));
    bare.on("error", (error) => resolve(error.message));
  });
}
const init = '{"type":"connection_init"}';
const subscribe = '{"type":"subscribe","id":"1","payload":{"query":"subscription { hangs }"}}';
for (const [name, ...args] of [
  ["no JSON", "graphql-transport-ws", "x"],
  ["binary", "graphql-transport-ws", Buffer.from(init)],
  ["init with a text", "graphql-transport-ws", '{"type":"connection_init","payload":"x"}'],
  ["subscribe before init", "graphql-transport-ws", subscribe],
  ["no subprotocol", []],
  ["no init", "graphql-transport-ws"],
  ["the same id twice", "graphql-transport-ws", init, subscribe, subscribe],
  ["init twice", "graphql-transport-ws", init, init],
]) {
  console.log(`${name}: ${await closing(...args)}`);
}

// Both are told of a shutdown, which the test begins on this line.
const last = [socket(), events()];
let begun = 0;
const ends = last.map((client) => observe(client, "subscription { hangs }", undefined, () => {
  if (++begun === last.length) {
    console.log("shut down");
  }
}));
for (const end of ends) {
  console.log(`at the shutdown: ${await end}`);
}
