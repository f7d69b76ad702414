// Follows the floor over a WebSocket, with Apollo Client and graphql-ws, and comes back
// by itself whatever happens to the connection or the service.
//
//   npm run floor [tag prefix]
import { ApolloClient, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { credential } from "./credential.js";
import { apply, FLOOR, show } from "./floor-set.js";
import type { HeldSpool } from "./floor-set.js";

Object.assign(globalThis, { WebSocket }); // Node.js 20 has none of its own, a browser does

const url = process.env.GRAPHQL_URL ?? "http://localhost:8080/graphql";
const held = new Map<string, HeldSpool>();

// The service says something every three seconds. After seven without, the connection
// is dead, though nobody may have been told.
let watchdog: ReturnType<typeof setTimeout> | undefined;
function watch(): void {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => socket.terminate(), 7000);
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 500 + 1500 * Math.random()));

const socket = createClient({
  url: url.replace("http", "ws"),
  connectionParams: credential, // of each connection: one whose token has ended is closed
  shouldRetry: () => true,
  retryAttempts: Infinity,
  retryWait: pause, // left out, each pause would be twice as long as the one before
  on: { connecting: watch, message: watch },
});

const client = new ApolloClient({ link: new GraphQLWsLink(socket), cache: new InMemoryCache() });

// Each connection begins with a snapshot, so there is nothing to catch up on.
function follow(): void {
  const options = { query: FLOOR, variables: { filter: { tagPrefix: process.argv[2] ?? "" } } };
  client.subscribe({ ...options, fetchPolicy: "no-cache" }).subscribe({
    next: ({ data, error }) => {
      if (error) {
        console.error(error.message);
        return;
      }
      apply(held, data!.floorUpdates);
      show(held, data!.floorUpdates);
    },
    complete: () => void pause().then(follow), // the service has refused it, see the error
  });
}

follow();
