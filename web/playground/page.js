// A tab an operation. The first takes a spool; the token that it answers goes into
// the others.
const LOCK = "id ownerId ownerName note version acquiredAt expiresAt remainingSeconds";

const documents = [
  `# Takes the spool. Run it twice: the second time, it is occupied.
mutation Tomar {
  tomarSpool(input: {
    tagSpool: "MK-1335-CW-25238-011"
    workerId: "93"
    workerNombre: "MR(93)"
    note: "weld 3 of 5"
  }) {
    lockToken
    replayed
    lock { ${LOCK} }
  }
}
`,
  `# Who has it; null: it is free.
query SpoolLock {
  spoolLock(tagSpool: "MK-1335-CW-25238-011") { ${LOCK} }
}
`,
  `# The spool, held or not.
query Spool {
  spool(tagSpool: "MK-1335-CW-25238-011") {
    id
    version
    lock { ${LOCK} }
  }
}
`,
  `# Ten minutes more.
mutation Extend {
  extendLock(input: {
    tagSpool: "MK-1335-CW-25238-011"
    lockToken: "what the take answered"
    additionalSeconds: 600
  }) {
    lock { ${LOCK} }
  }
}
`,
  `# Done with it.
mutation Release {
  releaseSpool(input: {
    tagSpool: "MK-1335-CW-25238-011"
    lockToken: "what the take answered"
  }) {
    released
    outcome
    spool { version lock { ownerName } }
  }
}
`,
  `query Limits {
  lockLimits { defaultTtlSeconds maxTtlSeconds batchSize maxLocksPerWorker }
}
`,
];

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: "/graphql" }),
    defaultTabs: documents.map((query) => ({ query })),
  }),
);
