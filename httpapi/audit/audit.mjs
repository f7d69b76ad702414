// Runs the audit of the graphql-http package against the GraphQL endpoint given
// and fails unless every check of it, MAY and SHOULD included, is met.
//
//   node audit.mjs http://localhost:8080/graphql
import { auditServer } from "graphql-http";

const url = process.argv[2];
const results = await auditServer({ url });
const failed = results.filter((result) => result.status !== "ok");
for (const { id, name, reason } of failed) {
  console.log(`${id} ${name}: ${reason}`);
}
console.log(`${results.length - failed.length} of ${results.length}`);
process.exit(failed.length === 0 && results.length === 61 ? 0 : 1);
