// Opens the playground of a service that asks who calls, and is refused. Then it types an
// administrator's credential into the headers of one tab, with which it reads the schema,
// takes a spool, and follows the floor in another tab.
//
//   node credential.mjs http://127.0.0.1:8080 credential
import { end, open, person, seeNothingKept } from "./browser.mjs";

const [url, credential] = process.argv.slice(2);
const { page, complaints } = await open(url, /status of 401/);
const { execute, follow, openDocumentation, see, seeSchema } = person(page, url, { Authorization: `Bearer ${credential}` });

const unknown = '"UNAUTHENTICATED"';
await see(unknown);
await execute(unknown);
console.log(`sees ${unknown}`);

await page.getByRole("button", { name: "Headers", exact: true }).click();
await page.locator(".graphiql-editor-tool .CodeMirror:visible").click();
await page.keyboard.type(`{"Authorization": "Bearer ${credential}"}`);
await execute('"lockToken"');
console.log('sees "lockToken"');

await page.getByRole("button", { name: /Re-fetch GraphQL schema/ }).click();
await openDocumentation();
await seeSchema();
console.log("sees the schema");

await follow();
console.log("sees the take of another");
await seeNothingKept(page);
await end(page, complaints);
