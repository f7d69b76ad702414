// Every error of the service, as Apollo Client 4 meets it: the code in its extensions,
// and whatever else they hold. apollo_test.go starts what this needs:
//
//   GRAPHQL_URL        a service that trusts this machine as a proxy, and lets each
//                      address behind it have one request under way. In its Redis,
//                      another program has locked FOREIGN for good and has spoiled
//                      BROKEN; the answers to LOST get lost, and those to SLOW wait
//                      for the end
//   DOWN_GRAPHQL_URL   a service whose Redis is gone
//   OPEN_GRAPHQL_URL   a service that does not know who its clients are, where a worker can
//                      hold one spool, and which few changes can be asked of
//
// It prints the names of the extensions that were read, by code.
import {
  ApolloClient,
  ApolloLink,
  CombinedGraphQLErrors,
  gql,
  HttpLink,
  InMemoryCache,
  ServerError,
} from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import type { GraphQLFormattedError } from "graphql";
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { authorized } from "./credential.js";
import { EXTEND, LIMITS, RELEASE, RESUME, SPOOL, TOMAR } from "./documents.js";
import type { Extend, Tomar } from "./documents.js";

const uri = process.env.GRAPHQL_URL!;
const client = newClient(new HttpLink({ uri }));

function newClient(...links: ApolloLink[]): ApolloClient {
  return new ApolloClient({
    link: ApolloLink.from([authorized, ...links]),
    cache: new InMemoryCache(),
    // Who holds a spool is a question for the server, not for the cache.
    defaultOptions: { query: { fetchPolicy: "network-only" } },
  });
}

const tomar = (input: Tomar, by = client) => by.mutate({ mutation: TOMAR, variables: { input } });
const extend = (input: Extend) => client.mutate({ mutation: EXTEND, variables: { input } });

// The errors that an operation failed with. Apollo Client reads the answer whatever its
// status, if it is application/graphql-response+json. What is refused before it is
// looked at as GraphQL is answered in application/json, and beyond a status of 2xx that
// is left to be read here.
function errorsOf(failure: unknown): readonly GraphQLFormattedError[] {
  if (CombinedGraphQLErrors.is(failure)) {
    return failure.errors;
  }
  if (ServerError.is(failure)) {
    return JSON.parse(failure.bodyText).errors;
  }
  throw failure; // there was no answer
}

// What an extension should be: a value, or what can be said of it.
type Expected = string | number | boolean | null | ((value: unknown) => boolean);

const read: Record<string, string[]> = {};

// Asserts that the operation fails with these extensions and no others; and with the
// status, where Apollo Client has left the answer unread.
async function fails(operation: Promise<unknown>, expected: Record<string, Expected>, status?: number): Promise<void> {
  const failure = await operation.then(
    () => assert.fail(`there is no ${expected.code}`),
    (reason: unknown) => reason,
  );
  const [error] = errorsOf(failure);
  const extensions: Record<string, unknown> = { ...error?.extensions };
  assert.equal(ServerError.is(failure) ? failure.statusCode : undefined, status, `the status of ${extensions.code}`);
  for (const [name, want] of Object.entries(expected)) {
    if (typeof want === "function" && want(extensions[name])) {
      extensions[name] = want;
    }
  }
  assert.deepEqual(extensions, expected);
  const { code, ...others } = expected;
  read[String(code)] = [...new Set([...(read[String(code)] ?? []), ...Object.keys(others)])];
}

const isUUID = (value: unknown) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(String(value));
const isBetween = (least: number, most: number) => (value: unknown) =>
  Number.isInteger(value) && least <= Number(value) && Number(value) <= most;

// A spool changes hands.

const { lockLimits } = (await client.query({ query: LIMITS })).data!;
const tagSpool = `MK-${randomUUID()}`;
const mr = { tagSpool, workerId: "93", workerNombre: "MR(93)", note: "weld 3 of 5", requestId: randomUUID() };
const jp = { tagSpool, workerId: "94", workerNombre: "JP(94)" };

const { spool, lockToken } = (await tomar(mr)).data!.tomarSpool;
const { version, acquiredAt, expiresAt } = spool.lock;
await fails(tomar(jp), {
  code: "SPOOL_OCCUPIED",
  tagSpool,
  ownerId: mr.workerId,
  ownerName: mr.workerNombre,
  note: mr.note,
  version,
  acquiredAt,
  expiresAt,
  remainingSeconds: isBetween(1, lockLimits.defaultTtlSeconds),
});
await fails(extend({ tagSpool, lockToken, additionalSeconds: lockLimits.maxTtlSeconds }), {
  code: "BAD_USER_INPUT",
  field: "additionalSeconds",
  reason: "OUT_OF_RANGE",
  maximum: isBetween(lockLimits.maxTtlSeconds - lockLimits.defaultTtlSeconds, lockLimits.maxTtlSeconds),
});

const released = await client.mutate({ mutation: RELEASE, variables: { input: { tagSpool, lockToken } } });
await fails(tomar({ ...jp, expectedVersion: version }), {
  code: "VERSION_CONFLICT",
  tagSpool,
  expected: version,
  actual: released.data!.releaseSpool.spool.version,
});
await fails(tomar(mr), { code: "LOCK_EXPIRED", tagSpool, cause: "RELEASED" });

// Another program's lock has no name, no start and no end.

const foreign = (await client.query({ query: SPOOL, variables: { tagSpool: "FOREIGN" } })).data!.spool.lock!;
await fails(tomar({ ...jp, tagSpool: "FOREIGN" }), {
  code: "SPOOL_OCCUPIED",
  tagSpool: "FOREIGN",
  ownerId: foreign.ownerId,
  ownerName: null,
  note: null,
  version: foreign.version,
  acquiredAt: null,
  expiresAt: null,
  remainingSeconds: null,
});

// Nobody knows who asks.

const open = newClient(new HttpLink({ uri: process.env.OPEN_GRAPHQL_URL! }));
await fails(open.mutate({ mutation: RESUME, variables: { input: { tagSpool } } }), { code: "UNAUTHENTICATED" });

// Or it does, and this is nobody.

if (process.env.TOKEN_FILE) {
  const stranger = new ApolloClient({ link: new HttpLink({ uri }), cache: new InMemoryCache() });
  await fails(stranger.query({ query: LIMITS }), { code: "UNAUTHENTICATED" }, 401);
}

// Somebody wants too much: a second spool, and then too many changes at once.

const third = { ...mr, tagSpool: `MK-${randomUUID()}`, requestId: undefined, workerId: "96" };
await tomar(third, open);
await fails(tomar({ ...third, tagSpool: `MK-${randomUUID()}` }, open), { code: "LOCK_LIMIT_REACHED", limit: 1, held: 1 });
const releases = Array.from({ length: 50 }, () =>
  open.mutate({ mutation: RELEASE, variables: { input: { tagSpool: third.tagSpool, lockToken: "96:another" } } }),
);
await fails(Promise.all(releases), { code: "RATE_LIMITED", retryAfterSeconds: 1, reason: "ADDRESS" });
await Promise.allSettled(releases);

// What is asked for is wrong.

await fails(tomar({ ...jp, ttlSeconds: 0 }), {
  code: "BAD_USER_INPUT",
  field: "ttlSeconds",
  reason: "OUT_OF_RANGE",
  minimum: 1,
  maximum: lockLimits.maxTtlSeconds,
});
await fails(tomar({ ...jp, requestId: "1" }), { code: "BAD_USER_INPUT", field: "requestId", reason: "NOT_UUID_V4" });
await fails(tomar({ ...jp, ttlSeconds: "60" as never }), {
  code: "BAD_USER_INPUT",
  field: "ttlSeconds",
  reason: "WRONG_TYPE",
});

// The document is wrong. gql would refuse one that cannot be parsed, so its end is cut
// off where the HttpLink prints it.

const cut = newClient(new HttpLink({ uri, print: (document, print) => print(document).trimEnd().slice(0, -1) }));
await fails(cut.query({ query: LIMITS }), { code: "GRAPHQL_PARSE_FAILED" });
await fails(client.query({ query: gql`{ lockLimits { color } }` }), { code: "GRAPHQL_VALIDATION_FAILED" });
const names = ["a", "b", "c", "d", "e", "f"];
await fails(client.query({ query: gql(`{ ${names.map((name) => `${name}: lockLimits { batchSize }`).join(" ")} }`) }), {
  code: "QUERY_TOO_COMPLEX",
  limitName: "rootFields",
  limit: 5,
  actual: 6,
});

// The request is wrong: there is no document in it, its hash is not known, or it comes
// from a page of somebody else's. A PersistedQueryLink sends the document again by
// itself, unless it is told not to.

await fails(client.query({ query: LIMITS, context: { http: { includeQuery: false } } }), { code: "BAD_REQUEST" });
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const hashOnly = newClient(new PersistedQueryLink({ sha256, retry: () => false }), new HttpLink({ uri }));
await fails(hashOnly.query({ query: LIMITS }), { code: "PERSISTED_QUERY_NOT_FOUND" });
await fails(
  client.query({ query: LIMITS, context: { headers: { origin: "https://elsewhere.example" } } }),
  { code: "FORBIDDEN" },
  403,
);

// The service is in trouble.

const down = newClient(new HttpLink({ uri: process.env.DOWN_GRAPHQL_URL! }));
await fails(tomar(mr, down), { code: "SERVICE_UNAVAILABLE", retryable: true, outcome: "NOT_APPLIED" });
await fails(tomar({ ...mr, tagSpool: "LOST" }), { code: "SERVICE_UNAVAILABLE", retryable: true, outcome: "UNKNOWN" });
await fails(tomar({ ...jp, tagSpool: "BROKEN" }), { code: "INTERNAL_SERVER_ERROR", errorId: isUUID });

// Two requests that a proxy forwards for one address: the second to arrive is one too
// many.

const stop = new AbortController();
const both = [1, 2].map(() =>
  client.query({
    query: SPOOL,
    variables: { tagSpool: "SLOW" },
    context: {
      headers: { "X-Forwarded-For": "198.51.100.7" },
      queryDeduplication: false,
      fetchOptions: { signal: stop.signal },
    },
  }),
);
await fails(
  Promise.race(both),
  { code: "RATE_LIMITED", retryAfterSeconds: 1, reason: "CONCURRENT_REQUESTS" },
  429,
);
stop.abort();
await Promise.allSettled(both);

console.log(JSON.stringify(read));
