// What a client keeps of the live floor: the spools that are held, by tag. floor.ts
// and floor-sse.ts follow it, each in its way.
import { gql } from "@apollo/client";
import type { TypedDocumentNode } from "@apollo/client";

export interface HeldSpool {
  tagSpool: string;
  version: number;
  lock: { ownerId: string; ownerName: string | null; note: string | null; expiresAt: string | null } | null;
}

export interface FloorUpdate {
  snapshot: boolean;
  more: boolean;
  changed: HeldSpool[];
  gone: string[];
  stale: boolean;
  asOf: string;
}

export interface Filter {
  ownerId?: string;
  tagPrefix?: string;
  tagSpools?: string[];
}

export const FLOOR: TypedDocumentNode<{ floorUpdates: FloorUpdate }, { filter?: Filter }> = gql`
  subscription Floor($filter: SpoolLockFilter) {
    floorUpdates(filter: $filter) {
      snapshot
      more
      changed {
        tagSpool
        version
        lock {
          ownerId
          ownerName
          note
          expiresAt
        }
      }
      gone
      stale
      asOf
    }
  }
`;

// Brings the set up to date with one message. This is all that is needed.
export function apply(held: Map<string, HeldSpool>, update: FloorUpdate): void {
  if (update.snapshot) {
    held.clear();
  }
  for (const spool of update.changed) {
    const known = held.get(spool.tagSpool);
    if (!known || !isOlder(spool, known)) {
      held.set(spool.tagSpool, spool);
    }
  }
  update.gone.forEach((tagSpool) => held.delete(tagSpool));
}

function isOlder(a: HeldSpool, b: HeldSpool): boolean {
  return a.version < b.version || (a.version === b.version && expiry(a) < expiry(b));
}

function expiry({ lock }: HeldSpool): number {
  return lock?.expiresAt ? Date.parse(lock.expiresAt) : Infinity; // null: it never lapses
}

let wasStale = false; // by the message that was shown last

// Where a tablet would draw, these examples print: when a message has changed
// something, or the floor has become stale, and the message is not to be continued.
export function show(held: Map<string, HeldSpool>, update: FloorUpdate): void {
  const news = update.snapshot || update.changed.length || update.gone.length || update.stale !== wasStale;
  if (update.more || !news) {
    return;
  }
  wasStale = update.stale;
  const spools = [...held.values()].map(({ tagSpool, lock }) => `${tagSpool} ${lock?.ownerName ?? lock?.ownerId}`);
  const since = update.stale ? ` (not seen since ${update.asOf})` : "";
  console.log(`held: ${spools.sort().join(", ") || "nothing"}${since}`);
}
