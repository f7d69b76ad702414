// A tab an operation. The take is the first; what it answers goes into the others.
const LOCK = `id
      ownerId
      ownerName
      note
      version
      acquiredAt
      expiresAt
      remainingSeconds`;

const tagSpool = "MK-1335-CW-25238-011";
const lockToken = "the lockToken that the take answered";

const tab = (query, variables) => ({ query, variables: JSON.stringify(variables, null, 2) });

const defaultTabs = [
  tab(
    `# Takes the spool. Run it twice: the second time it is occupied.
mutation Tomar($input: TomarSpoolInput!) {
  tomarSpool(input: $input) {
    lockToken
    replayed
    lock {
      ${LOCK}
    }
  }
}
`,
    { input: { tagSpool, workerId: "93", workerNombre: "MR(93)", note: "weld 3 of 5" } },
  ),
  tab(
    `# Who has it; null: it is free.
query SpoolLock($tagSpool: ID!) {
  spoolLock(tagSpool: $tagSpool) {
      ${LOCK}
  }
}
`,
    { tagSpool },
  ),
  tab(
    `# The spool, held or not.
query Spool($tagSpool: ID!) {
  spool(tagSpool: $tagSpool) {
    id
    version
    lock {
      ${LOCK}
    }
  }
}
`,
    { tagSpool },
  ),
  tab(
    `# Ten minutes more.
mutation Extend($input: ExtendLockInput!) {
  extendLock(input: $input) {
    lock {
      ${LOCK}
    }
  }
}
`,
    { input: { tagSpool, lockToken, additionalSeconds: 600 } },
  ),
  tab(
    `mutation Release($input: ReleaseSpoolInput!) {
  releaseSpool(input: $input) {
    released
    outcome
    spool {
      version
      lock {
        ownerName
      }
    }
  }
}
`,
    { input: { tagSpool, lockToken } },
  ),
  tab(
    `query Limits {
  lockLimits {
    defaultTtlSeconds
    maxTtlSeconds
    batchSize
    maxLocksPerWorker
  }
}
`,
    {},
  ),
];

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: "/graphql" }),
    defaultTabs,
  }),
);
