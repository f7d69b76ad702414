// Follows the floor of the service with the npm clients graphql-ws and graphql-sse, of
// which an address may have four subscriptions, and prints what they see.
//
//   node floor.mjs http://localhost:8080/graphql
import { createClient as createSSE } from "graphql-sse";
import { createClient as createWS } from "graphql-ws";
import WebSocket from "ws";

const url = process.argv[2];

const retry = { retryAttempts: Infinity, shouldRetry: () => true, retry: () => new Promise((done) => setTimeout(done, 50)) };
const socket = (options) =>
  createWS({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryWait: options.retry, ...options });
const events = (options) => createSSE({ url, ...options });
const kinds = [["graphql-ws", socket], ["graphql-sse", events]];

// Follows the floor. Of a client that does not try again, ended is what it is told at
// the end.
function follow(client, fields = "snapshot changed { tagSpool lock { ownerId } } gone", filter = {}) {
  const held = new Map();
  let looks = [];
  const follower = {
    snapshots: 0,
    // Waits until the owner of the spool is this one; undefined: until it is free.
    see: (tag, owner) => new Promise((resolve) => {
      const look = () => held.get(tag) === owner && (resolve(), true);
      look() || looks.push(look);
    }),
  };
  let begun;
  follower.begun = new Promise((resolve) => (begun = resolve));
  follower.ended = new Promise((resolve) => {
    const codes = (errors) => errors.map((error) => error.extensions.code).join(" ");
    const query = `subscription($filter: SpoolLockFilter) { floorUpdates(filter: $filter) { ${fields} } }`;
    client.subscribe({ query, variables: { filter } }, {
      next: ({ data, errors }) => {
        if (errors) {
          return resolve(codes(errors));
        }
        const update = data.floorUpdates;
        if (update.snapshot) {
          held.clear();
          follower.snapshots++;
        }
        update.changed.forEach(({ tagSpool, lock }) => held.set(tagSpool, lock?.ownerId));
        update.gone.forEach((tag) => held.delete(tag));
        begun();
        looks = looks.filter((look) => !look());
      },
      error: (error) => resolve(
        Array.isArray(error) ? codes(error) : `${error.code ?? error.response?.status ?? error.message} ${error.reason ?? ""}`.trim()),
      complete: () => resolve("complete"),
    });
  });
  return follower;
}

async function mutate(mutation) {
  const body = JSON.stringify({ query: `mutation { ${mutation} }` });
  const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const { data, errors } = await response.json();
  if (errors) {
    throw new Error(JSON.stringify(errors));
  }
  return data;
}

const take = async (tag) => {
  const { tomarSpool } = await mutate(`tomarSpool(input: { tagSpool: "${tag}", workerId: "93", workerNombre: "MR(93)" }) { lockToken }`);
  return tomarSpool.lockToken;
};

const once = { retryAttempts: 0 };
for (const [name, make] of kinds) {
  for (const [what, ...args] of [
    ["a filter that is none", undefined, { tagSpools: ["a{b}"] }],
    ["a history of each spool", "changed { history { pageInfo { hasNextPage } } }"],
  ]) {
    const client = make(once);
    console.log(`${name}, ${what}: ${await follow(client, ...args).ended}`);
    await client.dispose();
  }
}

const tenacious = kinds.map(([, make]) => follow(make(retry)));
const single = kinds.map(([, make]) => follow(make(once)));
await Promise.all([...tenacious, ...single].map((follower) => follower.begun));
for (const [name, make] of kinds) {
  console.log(`${name}, one too many: ${await follow(make(once)).ended}`);
}

const token = await take("MK-1");
for (const [i, [name]] of kinds.entries()) {
  await tenacious[i].see("MK-1", "93");
  console.log(`${name} sees the take`);
}
await mutate(`releaseSpool(input: { tagSpool: "MK-1", lockToken: "${token}" }) { outcome }`);
for (const [i, [name]] of kinds.entries()) {
  await tenacious[i].see("MK-1", undefined);
  console.log(`${name} sees the release`);
}

console.log("shut down"); // the test does, and begins anew
for (const [i, [name]] of kinds.entries()) {
  console.log(`${name} ends: ${await single[i].ended}`);
}
await take("MK-2");
for (const [i, [name]] of kinds.entries()) {
  await tenacious[i].see("MK-2", "93");
  console.log(`${name} goes on after ${tenacious[i].snapshots} snapshots`);
}
process.exit();
