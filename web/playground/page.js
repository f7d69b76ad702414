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
  `# What happened to it, newest first.
query History {
  spool(tagSpool: "MK-1335-CW-25238-011") {
    history(first: 10) {
      edges { node { type at ownerName version note expiresAt actor reason } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
`,
  `# Several spools at once.
query Spools {
  spools(tagSpools: ["MK-1335-CW-25238-011", "MK-1335-CW-25238-012"]) {
    tagSpool
    version
    lock { ${LOCK} }
  }
}
`,
  `# All that is held, in the order of tags; the endCursor goes into after for the next
# page.
query SpoolLocks {
  spoolLocks(filter: { tagPrefix: "MK-" }, first: 20, after: "") {
    totalCount
    asOf
    edges { node { ${LOCK} } }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  `# The floor as it changes. Leave it running, and take a spool in another window.
subscription Floor {
  floorUpdates(filter: { tagPrefix: "MK-" }) {
    snapshot
    more
    changed { tagSpool version lock { ${LOCK} } }
    gone
    stale
    asOf
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
    note: "weld 3 done"
  }) {
    released
    outcome
    spool { version lock { ownerName } }
  }
}
`,
  `# Several at once: each item succeeds or fails on its own. Run it twice: the second
# time, both are occupied.
mutation TomarSpools {
  tomarSpools(input: {
    items: [
      { tagSpool: "MK-1335-CW-25238-012", workerId: "93", workerNombre: "MR(93)" }
      { tagSpool: "MK-1335-CW-25238-013", workerId: "93", workerNombre: "MR(93)" }
    ]
  }) {
    taken
    failed
    results {
      tagSpool
      lockToken
      lock { ${LOCK} }
      error { code message retryable owner { ownerName expiresAt } }
    }
  }
}
`,
  `# Ten minutes more for each.
mutation ExtendLocks {
  extendLocks(input: {
    items: [
      { tagSpool: "MK-1335-CW-25238-012", lockToken: "what the take answered", additionalSeconds: 600 }
      { tagSpool: "MK-1335-CW-25238-013", lockToken: "what the take answered", additionalSeconds: 600 }
    ]
  }) {
    extended
    failed
    results {
      tagSpool
      lock { ${LOCK} }
      error { code message cause owner { ownerName expiresAt } }
    }
  }
}
`,
  `# Done with all of them.
mutation ReleaseSpools {
  releaseSpools(input: {
    items: [
      { tagSpool: "MK-1335-CW-25238-012", lockToken: "what the take answered" }
      { tagSpool: "MK-1335-CW-25238-013", lockToken: "what the take answered" }
    ]
  }) {
    released
    failed
    results {
      tagSpool
      released
      outcome
      error { code message }
    }
  }
}
`,
  `# Another token for one's own lock, where the first is lost; that one is dead then.
mutation Resume {
  resumeSpool(input: { tagSpool: "MK-1335-CW-25238-011" }) {
    lockToken
    lock { ${LOCK} }
  }
}
`,
  `# Whether a token holds the spool.
query Check {
  checkLock(input: {
    tagSpool: "MK-1335-CW-25238-011"
    lockToken: "what the take answered"
  }) {
    valid
    spool { version lock { ownerName } }
  }
}
`,
  `# Ends a lock whoever holds it, if it has the version that was seen.
mutation ForceRelease {
  forceReleaseSpool(input: {
    tagSpool: "MK-1335-CW-25238-011"
    reason: "gone home"
    expectedVersion: 1
  }) {
    spool { version }
    released { ${LOCK} }
  }
}
`,
  `query Limits {
  lockLimits { defaultTtlSeconds maxTtlSeconds batchSize maxLocksPerWorker }
}
`,
];

const fetcher = GraphiQL.createFetcher({
  url: "/graphql",
  subscriptionUrl: location.origin.replace("http", "ws") + "/graphql",
});

// Headers go with each request, and over a WebSocket into the payload of connection_init.
// Each tab has its own; one that has none is given those that were sent last, so that a
// credential need not be typed into every one.
let sent;
function fetchAsBefore(request, options) {
  if (Object.keys(options?.headers ?? {}).length > 0) {
    sent = options.headers;
  }
  return fetcher(request, { ...options, headers: sent });
}

// Results and headers hold tokens and credentials, so the browser keeps nothing of the page
// for the next person, and forgets what a page that kept it has left.
for (const key of Object.keys(localStorage)) {
  if (key.startsWith("graphiql:")) {
    localStorage.removeItem(key);
  }
}

function show(logo) {
  ReactDOM.createRoot(document.getElementById("graphiql")).render(
    React.createElement(
      GraphiQL,
      {
        fetcher: fetchAsBefore,
        storage: null,
        showPersistHeadersSettings: false,
        defaultTabs: documents.map((query) => ({ query })),
      },
      React.createElement(GraphiQL.Logo, null, logo),
    ),
  );
}

fetch("/readyz")
  .then((response) => response.json())
  .then(({ checks }) => show([
    checks.auth === "none" ? "Callers are anonymous" : "Spool locks",
    ...(checks.limits === "off" ? ["LIMITS=off"] : []),
  ].join(", ")))
  .catch(() => show("Spool locks"));
