// Shows the service who calls. Every other example does it this way.
import { SetContextLink } from "@apollo/client/link/context";
import { readFile } from "node:fs/promises";

// Tokens end, so this is asked for one with each request and each connection. A page gets
// it from the library that logs its user in, and a partner's program has a key; here, it
// is in a file. Without one, the service does not know who calls.
export async function credential(): Promise<Record<string, string>> {
  const file = process.env.TOKEN_FILE;
  return file ? { authorization: `Bearer ${(await readFile(file, "utf8")).trim()}` } : {};
}

// Goes in front of an HttpLink.
export const authorized = new SetContextLink(async ({ headers }) => ({
  headers: { ...headers, ...(await credential()) },
}));
