// Every operation of the service with Apollo Client 4: by plain POST, with automatic
// persisted queries, and with those and GET for queries. It works on spools of its
// own, and prints the root fields that were answered in each of these ways. The floor is
// followed over graphql-ws; how to do that day and night is in floor.ts.
import { ApolloClient, ApolloLink, DocumentTransform, HttpLink, InMemoryCache } from "@apollo/client";
import type { OperationVariables, TypedDocumentNode } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { isMutationOperation } from "@apollo/client/utilities";
import { Kind, OperationTypeNode, visit } from "graphql";
import { createClient } from "graphql-ws";
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { filter, firstValueFrom, map, share } from "rxjs";
import WebSocket from "ws";
import { authorized, credential } from "./credential.js";
import {
  CHECK,
  EXTEND,
  EXTEND_ALL,
  FORCE_RELEASE,
  HISTORY,
  LIMITS,
  RELEASE,
  RELEASE_ALL,
  RESUME,
  SPOOL,
  SPOOL_LOCK,
  SPOOL_LOCKS,
  SPOOLS,
  TOMAR,
  TOMAR_ALL,
} from "./documents.js";
import type { History, Lock, Locks, Tomar } from "./documents.js";
import { apply, FLOOR } from "./floor-set.js";
import type { HeldSpool } from "./floor-set.js";

const url = process.env.GRAPHQL_URL ?? "http://localhost:8080/graphql";

// A page in a browser has crypto.subtle.digest for it.
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

// What stands before the HttpLink of a client.
const ways = {
  POST: [],
  APQ: [new PersistedQueryLink({ sha256 })],
  GET: [new PersistedQueryLink({ sha256, useGETForHashedQueries: true })],
};
type Way = keyof typeof ways;

// Does one operation, and fails if it has an error.
type Run = <D, V extends OperationVariables>(document: TypedDocumentNode<D, V>, variables: V) => Promise<D>;

async function everyOperation(run: Run): Promise<void> {
  const { lockLimits } = await run(LIMITS, {});
  for (const limit of [lockLimits.maxTtlSeconds, lockLimits.batchSize, lockLimits.maxLocksPerWorker]) {
    assert(Number.isSafeInteger(limit) && limit > 0);
  }

  const tagSpool = `MK-${randomUUID()}`;
  assert.equal((await run(SPOOL_LOCK, { tagSpool })).spoolLock, null);

  const input = { tagSpool, workerId: "93", workerNombre: "MR(93)", note: "weld 3 of 5", requestId: randomUUID() };
  const { tomarSpool } = await run(TOMAR, { input });
  const { lock } = tomarSpool.spool;
  assertLock(lock, input, lockLimits.defaultTtlSeconds);
  assert.equal(tomarSpool.replayed, false);

  const again = (await run(TOMAR, { input })).tomarSpool;
  assert.equal(again.replayed, true);
  assert.equal(again.lockToken, tomarSpool.lockToken);

  const { spoolLock } = await run(SPOOL_LOCK, { tagSpool });
  assertLock(spoolLock!, input, lockLimits.defaultTtlSeconds);
  const { spool } = await run(SPOOL, { tagSpool });
  assert.equal(spool.id, `spool:${tagSpool}`);
  assert.equal(spool.version, lock.version);
  assert.equal(spool.lock?.id, lock.id);

  const token = { tagSpool, lockToken: tomarSpool.lockToken };
  const { extendLock } = await run(EXTEND, { input: { ...token, additionalSeconds: 600, requestId: randomUUID() } });
  assertLock(extendLock.spool.lock, input, lockLimits.defaultTtlSeconds + 600);
  assert.equal(extendLock.spool.lock.id, lock.id);

  const { releaseSpool } = await run(RELEASE, { input: { ...token, note: "weld 3 done" } });
  assert.equal(releaseSpool.released, true);
  assert.equal(releaseSpool.outcome, "RELEASED");
  assert.equal(releaseSpool.spool.lock, null);
  assert(releaseSpool.spool.version > lock.version);

  await history(run, tagSpool, lock.version);
  await batches(run, lockLimits.defaultTtlSeconds);
  await authority(run);
}

// What is done on the authority of who the client is: an administrator here.
async function authority(run: Run): Promise<void> {
  const tagSpool = `MK-${randomUUID()}`;
  const { tomarSpool } = await run(TOMAR, { input: { tagSpool } });
  const lost = { tagSpool, lockToken: tomarSpool.lockToken };
  assert.equal((await run(CHECK, { input: lost })).checkLock.valid, true);

  const resume = { tagSpool, requestId: randomUUID() };
  const { resumeSpool } = await run(RESUME, { input: resume });
  assert.equal((await run(RESUME, { input: resume })).resumeSpool.lockToken, resumeSpool.lockToken);
  const { lock } = resumeSpool.spool;
  assert(lock.version > tomarSpool.spool.lock.version);
  assert.equal(lock.expiresAt, tomarSpool.spool.lock.expiresAt);
  assert.equal((await run(CHECK, { input: lost })).checkLock.valid, false);
  assert.equal((await run(RELEASE, { input: lost })).releaseSpool.outcome, "SUPERSEDED");

  const force = { tagSpool, reason: "gone home", expectedVersion: lock.version, requestId: randomUUID() };
  const { spool, released } = (await run(FORCE_RELEASE, { input: force })).forceReleaseSpool;
  assert.equal(spool.lock, null);
  assert.equal(released.id, lock.id);
  const held = { tagSpool, lockToken: resumeSpool.lockToken };
  assert.equal((await run(RELEASE, { input: held })).releaseSpool.outcome, "FORCE_RELEASED");
  const { edges } = (await run(HISTORY, { tagSpool, first: 2 })).spool.history;
  assert.deepEqual(edges.map(({ node }) => node.type), ["FORCE_RELEASED", "RESUMED"]);
  assert.deepEqual([edges[0]!.node.actor, edges[0]!.node.reason], [released.ownerId, force.reason]);
}

// What has happened to the spool so far, a page of two at a time.
async function history(run: Run, tagSpool: string, version: number): Promise<void> {
  const told: [string, string | null][] = [];
  for (let after: string | null = null; ; ) {
    const { edges, pageInfo }: History = (await run(HISTORY, { tagSpool, first: 2, after })).spool.history;
    for (const { node } of edges) {
      assert(node.id.startsWith(`event:${tagSpool}@${node.version}.`));
      assert.equal(node.ownerName, "MR(93)");
      told.push([node.type, node.note]);
    }
    if (!pageInfo.hasNextPage) {
      assert.equal(edges[0]!.node.version, version);
      break;
    }
    after = pageInfo.endCursor;
  }
  assert.deepEqual(told, [["RELEASED", "weld 3 done"], ["EXTENDED", "weld 3 of 5"], ["TAKEN", "weld 3 of 5"]]);
}

// Several spools at once. Each item succeeds or fails on its own, and its result is at
// its place.
async function batches(run: Run, seconds: number): Promise<void> {
  const tagSpools = [1, 2, 3].map((n) => `MK-${randomUUID()}-${n}`);
  const items = tagSpools.map((tagSpool) => {
    return { tagSpool, workerId: "93", workerNombre: "MR(93)", note: "weld 3 of 5", requestId: randomUUID() };
  });
  const { tomarSpools } = await run(TOMAR_ALL, { input: { items } });
  assert.equal(tomarSpools.taken, 3);
  items.forEach((item, i) => assertLock(tomarSpools.results[i]!.spool!.lock!, item, seconds));

  // Sent again, a batch gets the same answers: of this one, all but the last item, which
  // another worker asks for.
  const others = [items[0]!, items[1]!, { ...items[2]!, workerId: "94", requestId: randomUUID() }];
  const again = (await run(TOMAR_ALL, { input: { items: others } })).tomarSpools;
  assert.deepEqual([again.taken, again.failed], [2, 1]);
  assert.deepEqual(again.results.map(({ replayed }) => replayed), [true, true, null]);
  assert.equal(again.results[0]!.lockToken, tomarSpools.results[0]!.lockToken);
  const { code, owner } = again.results[2]!.error!;
  assert.deepEqual([code, owner!.ownerName], ["SPOOL_OCCUPIED", "MR(93)"]);

  const { spools } = await run(SPOOLS, { tagSpools });
  assert.deepEqual(spools.map((spool) => spool!.id), tagSpools.map((tagSpool) => `spool:${tagSpool}`));

  await pages(run, tagSpools);

  const tokens = tomarSpools.results.map(({ tagSpool, lockToken }) => ({ tagSpool, lockToken: lockToken! }));
  const longer = tokens.map((token) => ({ ...token, additionalSeconds: 600, requestId: randomUUID() }));
  const { extendLocks } = await run(EXTEND_ALL, { input: { items: longer } });
  assert.deepEqual([extendLocks.extended, extendLocks.failed], [3, 0]);
  items.forEach((item, i) => assertLock(extendLocks.results[i]!.spool!.lock!, item, seconds + 600));

  const { releaseSpools } = await run(RELEASE_ALL, { input: { items: tokens } });
  assert.deepEqual([releaseSpools.released, releaseSpools.failed], [3, 0]);
  assert(releaseSpools.results.every(({ outcome, spool }) => outcome === "RELEASED" && spool!.lock === null));
}

// The locks on these spools, a page of two at a time.
async function pages(run: Run, tagSpools: string[]): Promise<void> {
  const found: string[] = [];
  for (let after: string | null = null; ; ) {
    const page: Locks = (await run(SPOOL_LOCKS, { filter: { tagSpools }, first: 2, after })).spoolLocks;
    assert.equal(page.totalCount, tagSpools.length);
    found.push(...page.edges.map(({ node }) => node.tagSpool));
    if (!page.pageInfo.hasNextPage) {
      break;
    }
    after = page.pageInfo.endCursor;
  }
  assert.deepEqual(found, [...tagSpools].sort());
}

function assertLock(lock: Lock, { tagSpool, workerId, workerNombre, note }: Tomar, seconds: number): void {
  const { version, acquiredAt, expiresAt, remainingSeconds, ...rest } = lock;
  const id = `lock:${tagSpool}@${version}`;
  assert.deepEqual(rest, { __typename: "SpoolLock", id, tagSpool, ownerId: workerId, ownerName: workerNombre, note });
  assert(Number.isSafeInteger(version));
  assert.equal(Date.parse(expiresAt!) - Date.parse(acquiredAt!), seconds * 1000);
  assert(Number.isSafeInteger(remainingSeconds) && remainingSeconds! > 0 && remainingSeconds! <= seconds);
}

// What went over the wire for one operation, and the root fields that came back.
let exchanges: string[] = [];
let fields: string[] = [];

const recordingFetch: typeof fetch = async (url, init) => {
  const response = await fetch(url, init);
  const body = await response.clone().json();
  const sent =
    init!.method === "GET" ? Object.fromEntries(new URL(String(url)).searchParams) : JSON.parse(String(init!.body));
  const hash = JSON.stringify(sent.extensions ?? "").includes("sha256Hash") ? " hash" : "";
  const text = "query" in sent ? " text" : "";
  exchanges.push(`${init!.method}${hash}${text}: ${body.errors?.[0].extensions.code ?? "OK"}`);
  fields = Object.keys(body.data ?? {});
  return response;
};

// What should go over the wire: the first time the server does not know the hash, and
// is sent the document with it.
function expectedExchanges(way: Way, isQuery: boolean, isFirst: boolean): string[] {
  if (way === "POST") {
    return ["POST text: OK"];
  }
  const method = way === "GET" && isQuery ? "GET" : "POST";
  return isFirst ? [`${method} hash: PERSISTED_QUERY_NOT_FOUND`, "POST hash text: OK"] : [`${method} hash: OK`];
}

// Does every operation twice in one way, and returns the root fields answered.
async function inWay(way: Way): Promise<string[]> {
  // No operation is named as it was by another client, so the server knows none of
  // the hashes. A client outside of tests needs no such thing.
  const name = `${way}${randomUUID().replaceAll("-", "")}`;
  const client = new ApolloClient({
    link: ApolloLink.from([
      ...ways[way],
      authorized,
      new HttpLink({ uri: url, fetch: recordingFetch }),
    ]),
    cache: new InMemoryCache(),
    // Who holds a spool is a question for the server, not for the cache.
    defaultOptions: { query: { fetchPolicy: "network-only" } },
    documentTransform: new DocumentTransform((document) =>
      visit(document, {
        OperationDefinition: (node) => ({ ...node, name: { kind: Kind.NAME, value: node.name!.value + name } }),
      }),
    ),
  });
  const known = new Set<object>(); // documents
  const answered = new Set<string>();
  const run: Run = async (document, variables) => {
    exchanges = [];
    const isQuery = !isMutationOperation(document);
    const { data } = isQuery
      ? await client.query({ query: document, variables })
      : await client.mutate({ mutation: document, variables });
    assert.deepEqual(exchanges, expectedExchanges(way, isQuery, !known.has(document)));
    known.add(document);
    fields.forEach((field) => answered.add(field));
    return data!;
  };
  await everyOperation(run);
  await everyOperation(run);
  return [...answered].sort();
}

// Follows a spool while it is taken and released, and returns the root fields answered.
async function following(): Promise<string[]> {
  Object.assign(globalThis, { WebSocket }); // Node.js 20 has none of its own, a browser does
  const tagSpool = `MK-${randomUUID()}`;
  const socket = createClient({ url: url.replace("http", "ws"), connectionParams: credential });
  const client = new ApolloClient({
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      authorized.concat(new HttpLink({ uri: url })),
    ),
    cache: new InMemoryCache(),
  });
  const held = new Map<string, HeldSpool>();
  const options = { query: FLOOR, variables: { filter: { tagSpools: [tagSpool] } } };
  const owner = client.subscribe({ ...options, fetchPolicy: "no-cache" }).pipe(
    map(({ data, error }) => {
      assert.equal(error, undefined);
      apply(held, data!.floorUpdates);
      return held.get(tagSpool)?.lock?.ownerId;
    }),
    share(),
  );
  const subscription = owner.subscribe();
  assert.equal(await firstValueFrom(owner), undefined);

  const taken = firstValueFrom(owner.pipe(filter((ownerId) => ownerId === "93")));
  const tomar = await client.mutate({ mutation: TOMAR, variables: { input: { tagSpool, workerId: "93", workerNombre: "MR(93)" } } });
  await taken;
  const freed = firstValueFrom(owner.pipe(filter((ownerId) => ownerId === undefined)));
  const { lockToken } = tomar.data!.tomarSpool;
  await client.mutate({ mutation: RELEASE, variables: { input: { tagSpool, lockToken } } });
  await freed;

  subscription.unsubscribe();
  await socket.dispose();
  return ["floorUpdates"];
}

const answered: Record<string, string[]> = {};
for (const way of Object.keys(ways) as Way[]) {
  answered[way] = await inWay(way);
}
answered.SUBSCRIPTION = await following();
console.log(JSON.stringify(answered));
