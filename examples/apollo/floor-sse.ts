// Follows the floor by Server-Sent Events, with nothing but fetch, and comes back by
// itself whatever happens to the connection or the service.
//
//   npm run floor-sse [tag prefix]
import { print } from "graphql";
import { credential } from "./credential.js";
import { apply, FLOOR, show } from "./floor-set.js";
import type { FloorUpdate, HeldSpool } from "./floor-set.js";

const url = process.env.GRAPHQL_URL ?? "http://localhost:8080/graphql";
const held = new Map<string, HeldSpool>();

interface Answer {
  data?: { floorUpdates: FloorUpdate } | null;
  errors?: { message: string }[];
}

// The data of each event. Lines that are no data begin with another name, or, as
// comments do, with a colon.
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    text += decoder.decode(value, { stream: true });
    const lines = text.split("\n");
    text = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith("data: ")) {
        yield line.slice("data: ".length);
      }
    }
  }
}

// Follows one stream to its end.
async function follow(): Promise<void> {
  const connection = new AbortController();
  // The service says something every three seconds. After seven without, the
  // connection is dead, though nobody may have been told.
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  const watch = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => connection.abort(), 7000);
  };
  watch();
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream", ...(await credential()) },
      body: JSON.stringify({ query: print(FLOOR), variables: { filter: { tagPrefix: process.argv[2] ?? "" } } }),
      signal: connection.signal,
    });
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      throw new Error(`${response.status} ${await response.text()}`);
    }
    for await (const event of events(response.body!)) {
      watch();
      const { data, errors }: Answer = JSON.parse(event);
      if (!data) {
        throw new Error(errors![0]!.message);
      }
      apply(held, data.floorUpdates);
      show(held, data.floorUpdates);
    }
  } finally {
    clearTimeout(watchdog);
  }
}

for (;;) {
  await follow().catch((error) => console.error(String(error)));
  await new Promise((resolve) => setTimeout(resolve, 500 + 1500 * Math.random()));
}
