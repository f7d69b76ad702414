// The documents of the service's operations, with the types of what they ask and get.
import { gql } from "@apollo/client";
import type { TypedDocumentNode } from "@apollo/client";

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

interface Tag {
  tagSpool: string;
}

interface Input<T> {
  input: T;
}

export interface Tomar {
  tagSpool: string;
  workerId: string;
  workerNombre: string;
  ttlSeconds?: number;
  note?: string;
  expectedVersion?: number;
  requestId?: string;
}

interface Release {
  tagSpool: string;
  lockToken: string;
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

export const SPOOL_LOCK: TypedDocumentNode<{ spoolLock: Lock | null }, Tag> = gql`
  query SpoolLock($tagSpool: ID!) {
    spoolLock(tagSpool: $tagSpool) {
      ...LockFields
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
