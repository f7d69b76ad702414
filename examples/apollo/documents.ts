// The documents of the service's operations, with the types of what they ask and get.
import { gql } from "@apollo/client";
import type { TypedDocumentNode } from "@apollo/client";
import type { Filter } from "./floor-set.js";

export interface Lock {
  id: string;
  tagSpool: string;
  ownerId: string;
  ownerName: string | null;
  note: string | null;
  version: number;
  acquiredAt: string | null;
  expiresAt: string | null;
  remainingSeconds: number | null;
}

export interface Spool {
  id: string;
  tagSpool: string;
  version: number;
  lock: Lock | null;
}

export interface Limits {
  defaultTtlSeconds: number;
  maxTtlSeconds: number;
  batchSize: number;
  maxLocksPerWorker: number;
}

export interface Event {
  id: string;
  type: string;
  at: string;
  ownerId: string;
  ownerName: string | null;
  version: number;
  note: string | null;
  expiresAt: string | null;
  actor: string | null;
  reason: string | null;
}

export interface History {
  edges: { cursor: string; node: Event }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

export interface Locks {
  edges: { cursor: string; node: Lock }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
  totalCount: number;
  asOf: string;
}

// Why one item of a batch failed.
export interface ItemError {
  code: string;
  message: string;
  retryable: boolean;
  owner: Lock | null;
  cause: string | null;
  expected: number | null;
  actual: number | null;
  field: string | null;
  reason: string | null;
  outcome: string | null;
  retryAfterSeconds: number | null;
  minimum: number | null;
  maximum: number | null;
  limit: number | null;
  held: number | null;
  ownerId: string | null;
  required: string | null;
  errorId: string | null;
}

interface Tag {
  tagSpool: string;
}

interface Input<T> {
  input: T;
}

interface Items<T> {
  items: T[];
}

export interface Tomar {
  tagSpool: string;
  workerId?: string; // left out: whoever the client's credential is for
  workerNombre?: string;
  ttlSeconds?: number;
  note?: string;
  expectedVersion?: number;
  requestId?: string;
}

interface Proof {
  tagSpool: string;
  lockToken: string;
}

interface Release extends Proof {
  note?: string;
}

interface Resume {
  tagSpool: string;
  requestId?: string;
}

interface ForceRelease {
  tagSpool: string;
  reason: string;
  expectedVersion: number;
  requestId?: string;
}

export interface Extend {
  tagSpool: string;
  lockToken: string;
  additionalSeconds: number;
  requestId?: string;
}

const LOCK_FIELDS = gql`
  fragment LockFields on SpoolLock {
    id
    tagSpool
    ownerId
    ownerName
    note
    version
    acquiredAt
    expiresAt
    remainingSeconds
  }
`;

const SPOOL_FIELDS = gql`
  fragment SpoolFields on Spool {
    id
    tagSpool
    version
    lock {
      ...LockFields
    }
  }
  ${LOCK_FIELDS}
`;

const ERROR_FIELDS = gql`
  fragment ErrorFields on SpoolError {
    code
    message
    retryable
    owner {
      ...LockFields
    }
    cause
    expected
    actual
    field
    reason
    outcome
    retryAfterSeconds
    minimum
    maximum
    limit
    held
    ownerId
    required
    errorId
  }
`;

export const LIMITS: TypedDocumentNode<{ lockLimits: Limits }> = gql`
  query Limits {
    lockLimits {
      defaultTtlSeconds
      maxTtlSeconds
      batchSize
      maxLocksPerWorker
    }
  }
`;

export const SPOOL: TypedDocumentNode<{ spool: Spool }, Tag> = gql`
  query Spool($tagSpool: ID!) {
    spool(tagSpool: $tagSpool) {
      ...SpoolFields
    }
  }
  ${SPOOL_FIELDS}
`;

export const SPOOLS: TypedDocumentNode<{ spools: (Spool | null)[] }, { tagSpools: string[] }> = gql`
  query Spools($tagSpools: [ID!]!) {
    spools(tagSpools: $tagSpools) {
      ...SpoolFields
    }
  }
  ${SPOOL_FIELDS}
`;

export const HISTORY: TypedDocumentNode<
  { spool: { id: string; history: History } },
  Tag & { first?: number; after?: string | null }
> = gql`
  query History($tagSpool: ID!, $first: Int! = 20, $after: String) {
    spool(tagSpool: $tagSpool) {
      id
      history(first: $first, after: $after) {
        edges {
          cursor
          node {
            id
            type
            at
            ownerId
            ownerName
            version
            note
            expiresAt
            actor
            reason
          }
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
  }
`;

export const SPOOL_LOCK: TypedDocumentNode<{ spoolLock: Lock | null }, Tag> = gql`
  query SpoolLock($tagSpool: ID!) {
    spoolLock(tagSpool: $tagSpool) {
      ...LockFields
    }
  }
  ${LOCK_FIELDS}
`;

export const SPOOL_LOCKS: TypedDocumentNode<
  { spoolLocks: Locks },
  { filter?: Filter; first?: number; after?: string | null }
> = gql`
  query SpoolLocks($filter: SpoolLockFilter, $first: Int! = 50, $after: String) {
    spoolLocks(filter: $filter, first: $first, after: $after) {
      edges {
        cursor
        node {
          ...LockFields
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
      totalCount
      asOf
    }
  }
  ${LOCK_FIELDS}
`;

export const TOMAR: TypedDocumentNode<
  { tomarSpool: { lockToken: string; replayed: boolean; spool: Spool & { lock: Lock } } },
  Input<Tomar>
> = gql`
  mutation Tomar($input: TomarSpoolInput!) {
    tomarSpool(input: $input) {
      lockToken
      replayed
      spool {
        ...SpoolFields
      }
    }
  }
  ${SPOOL_FIELDS}
`;

export const EXTEND: TypedDocumentNode<{ extendLock: { spool: Spool & { lock: Lock } } }, Input<Extend>> = gql`
  mutation Extend($input: ExtendLockInput!) {
    extendLock(input: $input) {
      spool {
        ...SpoolFields
      }
    }
  }
  ${SPOOL_FIELDS}
`;

export const RELEASE: TypedDocumentNode<
  { releaseSpool: { released: boolean; outcome: string; spool: Spool } },
  Input<Release>
> = gql`
  mutation Release($input: ReleaseSpoolInput!) {
    releaseSpool(input: $input) {
      released
      outcome
      spool {
        ...SpoolFields
      }
    }
  }
  ${SPOOL_FIELDS}
`;

export const CHECK: TypedDocumentNode<{ checkLock: { valid: boolean; spool: Spool } }, Input<Proof>> = gql`
  query Check($input: CheckLockInput!) {
    checkLock(input: $input) {
      valid
      spool {
        ...SpoolFields
      }
    }
  }
  ${SPOOL_FIELDS}
`;

export const RESUME: TypedDocumentNode<
  { resumeSpool: { lockToken: string; spool: Spool & { lock: Lock } } },
  Input<Resume>
> = gql`
  mutation Resume($input: ResumeSpoolInput!) {
    resumeSpool(input: $input) {
      lockToken
      spool {
        ...SpoolFields
      }
    }
  }
  ${SPOOL_FIELDS}
`;

export const FORCE_RELEASE: TypedDocumentNode<
  { forceReleaseSpool: { spool: Spool; released: Lock } },
  Input<ForceRelease>
> = gql`
  mutation ForceRelease($input: ForceReleaseSpoolInput!) {
    forceReleaseSpool(input: $input) {
      spool {
        ...SpoolFields
      }
      released {
        ...LockFields
      }
    }
  }
  ${SPOOL_FIELDS}
`;

export interface Taken {
  tagSpool: string;
  lockToken: string | null;
  replayed: boolean | null;
  spool: Spool | null;
  error: ItemError | null;
}

export const TOMAR_ALL: TypedDocumentNode<
  { tomarSpools: { taken: number; failed: number; results: Taken[] } },
  Input<Items<Tomar>>
> = gql`
  mutation TomarAll($input: TomarSpoolsInput!) {
    tomarSpools(input: $input) {
      taken
      failed
      results {
        tagSpool
        lockToken
        replayed
        spool {
          ...SpoolFields
        }
        error {
          ...ErrorFields
        }
      }
    }
  }
  ${SPOOL_FIELDS}
  ${ERROR_FIELDS}
`;

export const EXTEND_ALL: TypedDocumentNode<
  {
    extendLocks: {
      extended: number;
      failed: number;
      results: { tagSpool: string; spool: Spool | null; error: ItemError | null }[];
    };
  },
  Input<Items<Extend>>
> = gql`
  mutation ExtendAll($input: ExtendLocksInput!) {
    extendLocks(input: $input) {
      extended
      failed
      results {
        tagSpool
        spool {
          ...SpoolFields
        }
        error {
          ...ErrorFields
        }
      }
    }
  }
  ${SPOOL_FIELDS}
  ${ERROR_FIELDS}
`;

export const RELEASE_ALL: TypedDocumentNode<
  {
    releaseSpools: {
      released: number;
      failed: number;
      results: {
        tagSpool: string;
        released: boolean | null;
        outcome: string | null;
        spool: Spool | null;
        error: ItemError | null;
      }[];
    };
  },
  Input<Items<Release>>
> = gql`
  mutation ReleaseAll($input: ReleaseSpoolsInput!) {
    releaseSpools(input: $input) {
      released
      failed
      results {
        tagSpool
        released
        outcome
        spool {
          ...SpoolFields
        }
        error {
          ...ErrorFields
        }
      }
    }
  }
  ${SPOOL_FIELDS}
  ${ERROR_FIELDS}
`;
