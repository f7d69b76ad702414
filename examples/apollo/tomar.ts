import { ApolloClient, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { authorized } from "./credential.js";

const http = new HttpLink({ uri: process.env.GRAPHQL_URL ?? "http://localhost:8080/graphql" });
const client = new ApolloClient({
  link: authorized.concat(http),
  cache: new InMemoryCache(),
});

interface Tomar {
  tomarSpool: { lockToken: string; lock: { id: string; expiresAt: string } };
}

const TOMAR = gql`
  mutation Tomar($input: TomarSpoolInput!) {
    tomarSpool(input: $input) {
      lockToken
      lock {
        id
        expiresAt
      }
    }
  }
`;

// Takes the spool and returns the lock token, or null if somebody else has it. A service
// that knows who calls need not be told the worker.
async function tomar(tagSpool: string, workerId?: string, workerNombre?: string): Promise<string | null> {
  // One id for every sending of this request: with it, sending again is safe.
  const input = { tagSpool, workerId, workerNombre, requestId: crypto.randomUUID() };
  for (let attempt = 1; ; attempt++) {
    try {
      const { data } = await client.mutate<Tomar>({ mutation: TOMAR, variables: { input } });
      console.log(`${tagSpool} is ours until ${data!.tomarSpool.lock.expiresAt}`);
      return data!.tomarSpool.lockToken;
    } catch (error) {
      const extensions = CombinedGraphQLErrors.is(error) ? error.errors[0]?.extensions : undefined;
      if (extensions?.code === "SPOOL_OCCUPIED") {
        console.log(`${tagSpool} is held by ${extensions.ownerName ?? extensions.ownerId} until ${extensions.expiresAt}`);
        return null;
      }
      // No code: the answer was lost on the way.
      if (attempt === 3 || (extensions && extensions.code !== "SERVICE_UNAVAILABLE")) {
        throw error;
      }
    }
  }
}

const tagSpool = process.argv[2] ?? "MK-1335-CW-25238-012";
if (process.env.TOKEN_FILE) {
  await tomar(tagSpool);
  await tomar(tagSpool); // nobody can take it now, not even its holder
} else {
  await tomar(tagSpool, "93", "MR(93)");
  await tomar(tagSpool, "94", "JP(94)");
}
