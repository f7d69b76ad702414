// Opens the playground in a browser that can reach nothing but this machine, reads that callers
// are anonymous, and the schema, takes a spool and is refused the second time, and follows the
// floor while spools are taken.
//
//   node playground.mjs http://127.0.0.1:8080 [screenshot.png]
import { end, open, person, seeNothingKept } from "./browser.mjs";

const [url, screenshot] = process.argv.slice(2);
const { page, complaints } = await open(url);
const { execute, follow, openDocumentation, seeSchema } = person(page, url);

await page.getByText("Callers are anonymous").waitFor();
console.log("sees that callers are anonymous");
await openDocumentation();
await seeSchema();
console.log("sees the schema");
for (const expected of ['"lockToken"', '"SPOOL_OCCUPIED"']) {
  await execute(expected);
  console.log(`sees ${expected}`);
}
await follow();
console.log("sees the take of another");
console.log(`${await page.locator(".graphiql-tab").count()} tabs`);
if (screenshot) {
  await page.screenshot({ path: screenshot });
}
await seeNothingKept(page);
await end(page, complaints);
