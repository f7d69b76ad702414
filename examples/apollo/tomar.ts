import { ApolloClient, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from "@apollo/client";

const client = new ApolloClient({
  link: new HttpLink({ uri: process.env.GRAPHQL_URL ?? "http://localhost:8080/graphql" }),
  cache: new InMemoryCache(),
});

interface Tomar {
  tomarSpool: { lockToken: string; lock: { id: string; expiresAt: string } } | null;
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

// Answers the lock token, or null if somebody else has the spool.
async function tomar(tagSpool: string, workerId: string, workerNombre: string): Promise<string | null> {
  // Keep the id until there is an answer: the same request sent again is safe.
  const requestId = crypto.randomUUID();
  try {
    const { data } = await client.mutate<Tomar>({
      mutation: TOMAR,
      variables: { input: { tagSpool, workerId, workerNombre, requestId } },
    });
    return data?.tomarSpool?.lockToken ?? null;
  } catch (error) {
    const extensions = CombinedGraphQLErrors.is(error) ? error.errors[0]?.extensions : undefined;
    if (extensions?.code !== "SPOOL_OCCUPIED") {
      throw error;
    }
    console.log(`${tagSpool} is held by ${extensions.ownerName ?? extensions.ownerId} until ${extensions.expiresAt}`);
    return null;
  }
}

const tagSpool = process.argv[2] ?? "MK-1335-CW-25238-012";
console.log((await tomar(tagSpool, "93", "MR(93)")) ? `${tagSpool} is ours` : "not ours");
console.log((await tomar(tagSpool, "94", "JP(94)")) ? `${tagSpool} is ours` : "not ours");
